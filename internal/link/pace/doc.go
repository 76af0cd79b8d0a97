// Package pace says how long to wait: between tries, and between signs of life. Many planes lose and find the control plane at the same
// moment, so nothing here is the same for two of them.
//
// The link, the tunnel, enrolment and the relay call it. It must never wait itself.
package pace
