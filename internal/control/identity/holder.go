package identity

import "time"

// holder says which life of a plane may speak for it. Two lives that do not know of each other are two places with one
// identity, such as a copied state folder, which certificates cannot tell apart until one of them renews.
//
// Who is there stays for as long as it speaks. Another life waits: that it is a copy is certain only when the holder has spoken
// after the other came, since a plane that was restarted comes before its old connection is known to be dead.
type holder struct {
	life   string
	heard  time.Time
	open   bool             // it has a session
	rivals map[string]rival // lives that came while another held the plane
}

type rival struct {
	since  time.Time
	copied bool
}

// maxRivals bounds what is remembered of one plane.
const maxRivals = 16

// entry is what becomes of a life that says hello.
type entry int

const (
	enter entry = iota
	wait        // who is right is not known yet
	stay        // out: the holder is alive
)

// admit decides about a life. beat is how often a plane speaks; after patience without a word it counts as gone.
func (h *holder) admit(life string, now time.Time, beat, patience time.Duration) entry {
	if h.life == "" || h.life == life {
		return enter
	}
	r, known := h.rivals[life]
	switch {
	case now.Sub(h.heard) > patience:
		return enter
	case !h.open && !r.copied:
		return enter
	case known && (r.copied || h.heard.Sub(r.since) > beat):
		h.remember(life, rival{since: r.since, copied: true})
		return stay
	case !known:
		h.remember(life, rival{since: now})
	}
	return wait
}

func (h *holder) remember(life string, r rival) {
	if h.rivals == nil {
		h.rivals = map[string]rival{}
	}
	if _, known := h.rivals[life]; !known && len(h.rivals) >= maxRivals {
		oldest := ""
		for other := range h.rivals {
			if oldest == "" || h.rivals[other].since.Before(h.rivals[oldest].since) {
				oldest = other
			}
		}
		delete(h.rivals, oldest)
	}
	h.rivals[life] = r
}

// hold makes the life the holder.
func (h *holder) hold(life string, now time.Time) {
	delete(h.rivals, life)
	h.life, h.heard, h.open = life, now, true
}
