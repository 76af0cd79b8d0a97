// Package door is the control plane's one public port. It reads the first message of each connection (package hello) and
// leads the connection on, by the name that the client asks for and by ALPN:
//
//   - another name than the control plane's own: to the relay, which passes it on to a plane, sealed;
//   - the control plane's own name, or none: TLS ends here. A protocol of planes or replicas is handed to whoever was
//     registered for it, everything else to the HTTP server, which accepts from HTTP.
//
// The control plane's composition makes it. It must never end the TLS of another name, log what a client sends, or let a
// client that says nothing take a place from one that does: whoever has not said what it wants is bounded in number, bytes
// and time, and each client address in connections and in connections per second.
package door
