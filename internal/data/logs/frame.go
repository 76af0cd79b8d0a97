package logs

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// A log file is a sequence of frames, one a line: 19 digits of Unix time in nanoseconds, a space, the stream's digit, a
// space, the text as the process wrote it, a line feed. Text, so that an operator can read a log with less and grep when
// nothing else works; a line feed at the end, so that a torn frame (a crash, a full disk) can never be taken for a whole one.
const (
	timeDigits  = 19
	frameHead   = timeDigits + 3
	frameExtra  = frameHead + 1 // what a frame adds to its text
	replacement = "\uFFFD"
)

func appendFrame(dst []byte, at time.Time, stream Stream, text []byte) []byte {
	nanos := strconv.AppendInt(make([]byte, 0, timeDigits+1), at.UnixNano(), 10)
	for range timeDigits - len(nanos) {
		dst = append(dst, '0')
	}
	dst = append(dst, nanos...)
	dst = append(dst, ' ', '0'+byte(stream), ' ')
	dst = append(dst, text...)
	return append(dst, '\n')
}

// parseFrame reads a frame without its line feed. Text that is not UTF-8 is mended here and not by the writer, so that the
// file keeps what the process really wrote.
func parseFrame(frame []byte) (Line, bool) {
	if len(frame) < frameHead || frame[timeDigits] != ' ' || frame[timeDigits+2] != ' ' {
		return Line{}, false
	}
	nanos, err := strconv.ParseInt(string(frame[:timeDigits]), 10, 64)
	if err != nil {
		return Line{}, false
	}
	stream := Stream(frame[timeDigits+1] - '0')
	if stream < Stdout || stream > System {
		return Line{}, false
	}
	return Line{At: time.Unix(0, nanos), Stream: stream, Text: strings.ToValidUTF8(string(frame[frameHead:]), replacement)}, true
}

// wholeFrames is the length of the frames in data that are complete.
func wholeFrames(data []byte) int { return bytes.LastIndexByte(data, '\n') + 1 }
