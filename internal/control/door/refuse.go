package door

import (
	"io"
	"net"
	"time"
)

// Alert is the number by which TLS tells a client why it is refused.
type Alert uint8

// The alerts of RFC 8446, section 6. NoAlert closes without a word.
const (
	NoAlert          Alert = 0
	RecordOverflow   Alert = 22
	DecodeError      Alert = 50
	InternalError    Alert = 80
	UnrecognizedName Alert = 112
)

// Refusal is why a connection is not carried. Reason is a label of a metric, one of few.
type Refusal struct {
	Reason string
	Alert  Alert
}

func (r *Refusal) Error() string { return "refused: " + r.Reason }

const (
	farewellTime  = 2 * time.Second
	farewellBytes = 64 << 10
)

// plainAnswer is for a browser or a curl that was given http:// instead of https://.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Connection: close\r\n" +
	"\r\n" +
	"This port speaks TLS only. Use an address that begins with https://.\n"

// refuse tells the client and closes the connection.
func refuse(conn net.Conn, alert Alert) {
	if alert == NoAlert {
		conn.Close()
		return
	}
	farewell(conn, []byte{21, 3, 3, 0, 2, 2, byte(alert)}) // a record of type alert, TLS 1.2 as all records say, fatal
}

// farewell sends last words, and waits a moment for the client to close: a close with bytes unread resets the connection,
// and the client's system may then throw the words away.
func farewell(conn net.Conn, words []byte) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(farewellTime)) != nil {
		return
	}
	if _, err := conn.Write(words); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, farewellBytes) // whatever ends it, the connection is closed next
	}
}
