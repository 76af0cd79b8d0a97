package door

import "time"

// Limits are the bounds of a door. Zero means the default, given in brackets. A client address is an IPv4 address, or the
// first 64 bits of an IPv6 address.
type Limits struct {
	// HelloBytes is the largest ClientHello, with its records' headers [16 KiB].
	HelloBytes int
	// HelloTime is how long a ClientHello may take [10 s].
	HelloTime time.Duration
	// HandshakeTime is how long the TLS handshake of a protocol of planes or replicas may take [10 s].
	HandshakeTime time.Duration
	// Connections is the number of connections [16,384], and of one client address [2,048].
	Connections, AddressConnections int
	// Pending is the number of connections that have not said yet what they want [2,048], and of one client address [256].
	Pending, AddressPending int
	// AddressRate is how many connections per second a client address may open [200] for long, and AddressBurst how many
	// beyond that at once [1,000].
	AddressRate, AddressBurst int
	// Addresses is how many client addresses are told apart [65,536]; a connection of one more is refused.
	Addresses int
	// Grace is how long connections in the relay's and in a protocol's hands may go on when the door stops [30 s].
	Grace time.Duration
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.HelloBytes, 16<<10)
	orDefault(&l.HelloTime, 10*time.Second)
	orDefault(&l.HandshakeTime, 10*time.Second)
	orDefault(&l.Connections, 16384)
	orDefault(&l.AddressConnections, 2048)
	orDefault(&l.Pending, 2048)
	orDefault(&l.AddressPending, 256)
	orDefault(&l.AddressRate, 200)
	orDefault(&l.AddressBurst, 1000)
	orDefault(&l.Addresses, 1<<16)
	orDefault(&l.Grace, 30*time.Second)
	return l
}

func orDefault[T int | time.Duration](value *T, fallback T) {
	if *value <= 0 {
		*value = fallback
	}
}
