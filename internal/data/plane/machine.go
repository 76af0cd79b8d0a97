package plane

import (
	"fmt"
	"net"
	"net/netip"

	"biplane.dev/biplane/internal/fault"
)

// CheckLoopback accepts an address that only this machine can reach: the gateway speaks plain HTTP and asks for no token.
func CheckLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fault.Invalid("listen", "%q is not host:port: %v", address, err)
	}
	if host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return nil
	}
	return fault.Invalid("listen", "%q can be reached from other machines, and the gateway asks for no sign-in yet; use 127.0.0.1", address)
}

// MachineMemory is the memory of this machine in bytes.
func MachineMemory() (int64, error) {
	bytes, err := machineMemory()
	if err != nil {
		return 0, fmt.Errorf("how much memory this machine has: %w; say it with --memory", err)
	}
	return bytes, nil
}
