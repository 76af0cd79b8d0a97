package objects

import (
	"io"
	"net/http"
	"time"
)

// pace moves a connection's deadline on while a body makes progress, up to the end: a slow client may take its time, one that
// stands still may not. Where deadlines cannot be set (a recorder in a test) there are none.
type pace struct {
	control *http.ResponseController
	idle    time.Duration
	end     time.Time
}

func (p *pace) next() time.Time {
	if next := time.Now().Add(p.idle); next.Before(p.end) {
		return next
	}
	return p.end
}

type pacedReader struct {
	from io.Reader
	pace *pace
}

func (r *pacedReader) Read(buffer []byte) (int, error) {
	_ = r.pace.control.SetReadDeadline(r.pace.next())
	return r.from.Read(buffer)
}

type pacedWriter struct {
	http.ResponseWriter
	pace *pace
}

func (w *pacedWriter) Write(content []byte) (int, error) {
	_ = w.pace.control.SetWriteDeadline(w.pace.next())
	return w.ResponseWriter.Write(content)
}

func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
