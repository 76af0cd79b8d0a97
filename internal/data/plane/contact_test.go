package plane

import (
	"context"
	"errors"
	"net"
	"testing"
)

func TestRenewalsLeaveTheAccountTheWayTheLinkDoes(t *testing.T) {
	t.Parallel()
	proxied := errors.New("by the proxy")
	p := &Plane{config: Config{Control: "control.example.com:443", Dial: func(context.Context, string, string) (net.Conn, error) { return nil, proxied }}}
	contact, err := p.contact()
	if err != nil || contact.Address != "control.example.com:443" {
		t.Fatalf("%q, err %v", contact.Address, err)
	}
	if contact.Dial == nil {
		t.Fatal("a renewal has a way out of its own")
	}
	if _, err := contact.Dial(t.Context(), "tcp", contact.Address); !errors.Is(err, proxied) {
		t.Errorf("err %v", err)
	}
}
