package relay

import "time"

// Limits are the bounds of a relay. Zero means the default, given in brackets.
type Limits struct {
	// Sessions is how many sessions a plane may have here [8]. One more takes the place of the worst.
	Sessions int
	// Streams is how many connections are carried to one plane at a time [4,096], and for one client address [1,024].
	Streams, AddressStreams int
	// BytesPerSecond is how fast the connections of one plane may be together, both ways [no limit].
	BytesPerSecond int64
	// Lookups is how many connections may ask the database at a time where their name leads [64].
	Lookups int
	// AttemptTime is how long a plane may take to answer by one way [5 s], and OpenTime by all ways together [15 s].
	AttemptTime, OpenTime time.Duration
	// IdleTime is how long a connection may be silent in both directions [1 h].
	IdleTime time.Duration
	// HalfClose is how long a connection may be closed in one direction only [1 min].
	HalfClose time.Duration
	// PingEvery is how often a session is asked whether its plane is there [15 s], and PingTime how long the answer may
	// take until the session is used only when there is no better one [5 s].
	PingEvery, PingTime time.Duration
	// Drain is how long open connections may go on when the relay stops [20 s]; less than the door's Grace.
	Drain time.Duration
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Sessions, 8)
	orDefault(&l.Streams, 4096)
	orDefault(&l.AddressStreams, 1024)
	orDefault(&l.Lookups, 64)
	orDefault(&l.AttemptTime, 5*time.Second)
	orDefault(&l.OpenTime, 15*time.Second)
	orDefault(&l.IdleTime, time.Hour)
	orDefault(&l.HalfClose, time.Minute)
	orDefault(&l.PingEvery, 15*time.Second)
	orDefault(&l.PingTime, 5*time.Second)
	orDefault(&l.Drain, 20*time.Second)
	return l
}

func orDefault[T int | time.Duration](value *T, fallback T) {
	if *value <= 0 {
		*value = fallback
	}
}
