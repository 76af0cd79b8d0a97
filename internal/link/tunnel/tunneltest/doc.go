// Package tunneltest is what every tunnel.Session must do, as tests: the known failures of reverse tunnels (a reader who
// stopped holds up others, opens that nobody answers pile up, reads that hang after the writer failed, streams that outlive
// their client, use after the end) and the promises of net.Conn. Tests of package tunnel run it over each transport. It must never
// be linked into a program.
package tunneltest
