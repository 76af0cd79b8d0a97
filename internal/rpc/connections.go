package rpc

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// connections knows the server's connections and which of them has been without a request for longest, so that silent
// peers can never keep others out.
type connections struct {
	max, maxIdle int

	mu   sync.Mutex
	all  map[net.Conn]*list.Element // nil while a request is being served
	idle *list.List                 // of net.Conn without a request, the longest first
}

func newConnections(limits Limits) *connections {
	return &connections{
		max: limits.Connections, maxIdle: min(limits.IdleConnections, limits.Connections),
		all: map[net.Conn]*list.Element{}, idle: list.New(),
	}
}

// changed is an http.Server's ConnState hook.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if victim := c.note(conn, state); victim != nil {
		// Closing may write (a TLS alert), which may wait; net/http reports the closed state later.
		go victim.Close()
	}
}

// note keeps the books, and returns a connection to be closed.
func (c *connections) note(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, known := c.all[conn]
	if !known && state != http.StateNew {
		return nil // one that was closed to make room
	}
	if element != nil {
		c.idle.Remove(element)
		c.all[conn] = nil
	}
	switch state {
	case http.StateNew, http.StateIdle:
		c.all[conn] = c.idle.PushBack(conn)
		if c.idle.Len() > c.maxIdle || len(c.all) > c.max {
			return c.evict()
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.all, conn)
	}
	return nil
}

func (c *connections) evict() net.Conn {
	victim := c.idle.Remove(c.idle.Front()).(net.Conn)
	delete(c.all, victim)
	return victim
}

func (c *connections) open() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.all))
}
