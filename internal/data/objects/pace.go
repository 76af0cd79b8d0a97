package objects

import (
	"io"
	"net/http"
	"time"
)

// Paced bounds how long next may take over the bodies of a request. The connection's deadlines move on while a body makes progress: a
// pause may last idle, everything together total. So a slow client may take its time and one that stands still may not, whatever deadlines
// the server has for other requests. What next reads after that gives os.ErrDeadlineExceeded.
func Paced(next http.Handler, idle, total time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reading := pace{control: http.NewResponseController(w), idle: idle, end: time.Now().Add(total)}
		writing := reading
		writing.end = writing.end.Add(idle) // time to be told that the time is over
		paced := *r                         // the request belongs to the server, which goes on to use its body
		paced.Body = &pacedBody{ReadCloser: r.Body, pace: reading}
		next.ServeHTTP(&pacedWriter{ResponseWriter: w, pace: writing}, &paced)
	})
}

// pace sets deadlines. Where they cannot be set (a recorder in a test) there are none.
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

type pacedBody struct {
	io.ReadCloser
	pace pace
}

func (b *pacedBody) Read(buffer []byte) (int, error) {
	_ = b.pace.control.SetReadDeadline(b.pace.next())
	return b.ReadCloser.Read(buffer)
}

type pacedWriter struct {
	http.ResponseWriter
	pace pace
}

func (w *pacedWriter) Write(content []byte) (int, error) {
	_ = w.pace.control.SetWriteDeadline(w.pace.next())
	return w.ResponseWriter.Write(content)
}

func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
