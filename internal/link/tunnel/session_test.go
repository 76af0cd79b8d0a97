package tunnel_test

import (
	"testing"

	"biplane.dev/biplane/internal/link/tunnel/tunneltest"
)

func TestOverAPipe(t *testing.T)      { tunneltest.Run(t, tunneltest.Pipe()) }
func TestOverTLS(t *testing.T)        { tunneltest.Run(t, tunneltest.TLS(t)) }
func TestOverAWebSocket(t *testing.T) { tunneltest.Run(t, tunneltest.WebSocket(t)) }
