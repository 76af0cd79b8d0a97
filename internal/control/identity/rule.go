package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"time"
)

// place is where a certificate stands in its plane's history.
type place struct {
	generation uint32
	step       uint32
}

func (p place) after(q place) bool {
	return p.generation > q.generation || p.generation == q.generation && p.step > q.step
}

// serial makes a serial number of 16 bytes: 8 random, then generation and step.
func (p place) serial(random [8]byte) *big.Int {
	var raw [16]byte
	copy(raw[:], random[:])
	raw[0] = raw[0]&0x7f | 0x40 // positive, and of full length
	binary.BigEndian.PutUint32(raw[8:], p.generation)
	binary.BigEndian.PutUint32(raw[12:], p.step)
	return new(big.Int).SetBytes(raw[:])
}

// placeOf reads a serial number; false when it is not one of a plane's.
func placeOf(serial *big.Int) (place, bool) {
	raw := serial.Bytes()
	if len(raw) != 16 {
		return place{}, false
	}
	return place{generation: binary.BigEndian.Uint32(raw[8:]), step: binary.BigEndian.Uint32(raw[12:])}, true
}

// hash is a SHA-256; the zero value stands for none.
type hash [sha256.Size]byte

// register is what is known of a plane's certificates.
type register struct {
	place
	current   hash // the newest certificate
	key       hash // its public key
	previous  hash // the one before it
	confirmed time.Time
	removed   bool
}

// verdict is what becomes of a certificate that is shown.
type verdict int

const (
	// good: go on.
	good verdict = iota
	// first: good, and the newest certificate is shown for the first time: the one before ends.
	first
	// newer: good, and unknown here, since the register was put back to an older state: it becomes the newest.
	newer
	// removed: the plane was removed.
	removed
	// outdated: of an earlier enrolment.
	outdated
	// copied: of this enrolment, and renewed already. Somebody else went on with it.
	copied
)

// judge decides about a certificate of the plane that this control plane has signed and that has not expired.
func (r register) judge(at place, print hash) verdict {
	switch {
	case r.removed:
		return removed
	case print == r.current && r.confirmed.IsZero():
		return first
	case print == r.current:
		return good
	case print == r.previous && r.confirmed.IsZero():
		return good
	case at.after(r.place):
		return newer
	case at.generation < r.generation:
		return outdated
	default:
		return copied
	}
}

// renewal is what becomes of a request to renew.
type renewal int

const (
	sign   renewal = iota // make the next certificate
	repeat                // answer what was answered before: it got lost
	fork                  // the next certificate was made already, for another key
)

// renew decides about a request for key, made with a certificate that is good.
func (r register) renew(print, key hash) renewal {
	switch {
	case print != r.previous || r.previous == hash{}:
		return sign
	case key == r.key:
		return repeat
	default:
		return fork
	}
}
