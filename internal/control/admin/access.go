package admin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"

	"biplane.dev/biplane/internal/fault"
)

// Files in the control plane's state folder by which its CLI finds and may call it.
const (
	AddressFile = "admin.addr"
	TokenFile   = "admin.token"
)

// NewToken makes this start's token.
func NewToken() string { return rand.Text() }

// RequireToken refuses calls that do not carry the token.
func RequireToken(token string) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			if request.Spec().IsClient {
				request.Header().Set("Authorization", "Bearer "+token)
				return next(ctx, request)
			}
			given, _ := strings.CutPrefix(request.Header().Get("Authorization"), "Bearer ")
			if subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
				return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("the admin API wants the token in "+TokenFile+" of the control plane's state folder"))
			}
			return next(ctx, request)
		}
	})
}

// CheckLoopback refuses to listen where other machines could call.
func CheckLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fault.Invalid("admin-listen", "must be host:port, got %q", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fault.Invalid("admin-listen", "must be a loopback address such as 127.0.0.1:0, got %q: the admin API is not made to be reached from elsewhere", address)
	}
	return nil
}

// Find reads how to call the control plane whose state is in the folder.
func Find(folder string) (address, token string, err error) {
	for file, into := range map[string]*string{AddressFile: &address, TokenFile: &token} {
		raw, err := os.ReadFile(filepath.Join(folder, file))
		if errors.Is(err, os.ErrNotExist) {
			return "", "", fault.New(fault.KindUnavailable, "no control plane runs on %s; start one (biplane demo), or name the state folder of a running one with --state", folder)
		}
		if err != nil {
			return "", "", fault.Wrap(err, fault.KindUnavailable, "cannot read %s: %v", filepath.Join(folder, file), err)
		}
		*into = strings.TrimSpace(string(raw))
	}
	return address, token, nil
}
