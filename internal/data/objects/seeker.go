package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// seeker lets http.ServeContent, which knows about ranges, read an object of any bucket: moving costs nothing until the next read.
type seeker struct {
	ctx    context.Context // of the one request it is for
	bucket Bucket
	info   Info
	reader io.ReadCloser // nil when none is open
	at     int64         // where reader stands
	offset int64         // where the next read shall be
}

func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.offset
	case io.SeekEnd:
		offset += s.info.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d in object %q", offset, s.info.Key)
	}
	s.offset = offset
	return offset, nil
}

func (s *seeker) Read(buffer []byte) (int, error) {
	if s.reader == nil || s.at != s.offset {
		if err := s.reopen(); err != nil {
			return 0, err
		}
	}
	n, err := s.reader.Read(buffer)
	s.at += int64(n)
	s.offset = s.at
	return n, err
}

func (s *seeker) reopen() error {
	if err := s.Close(); err != nil {
		return err
	}
	reader, info, err := s.bucket.Get(s.ctx, s.info.Key, s.offset, -1)
	if err != nil {
		return err
	}
	if info != s.info {
		return errors.Join(fmt.Errorf("object %q was replaced while it was read", info.Key), reader.Close())
	}
	s.reader, s.at = reader, s.offset
	return nil
}

func (s *seeker) Close() error {
	if s.reader == nil {
		return nil
	}
	err := s.reader.Close()
	s.reader = nil
	return err
}
