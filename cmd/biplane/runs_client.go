package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
	"biplane.dev/biplane/internal/control/admin"
)

// callTime bounds one call of the control plane on the same machine.
const callTime = 30 * time.Second

// controlPlane is the admin API of the control plane whose state is in the folder.
func controlPlane(g *global) (adminv1connect.AdminServiceClient, error) {
	return adminClient(g, adminv1connect.NewAdminServiceClient)
}

// adminClient is a client of one of the services of that control plane.
func adminClient[C any](g *global, service func(connect.HTTPClient, string, ...connect.ClientOption) C) (client C, err error) {
	address, token, err := admin.Find(filepath.Join(g.State, "control"))
	if err != nil {
		return client, err
	}
	explain := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			response, err := next(ctx, request)
			return response, plain(err, address)
		}
	})
	direct := &http.Client{Timeout: callTime, Transport: &http.Transport{}} // no proxy: it is a loopback address
	return service(direct, "http://"+address, connect.WithInterceptors(explain, admin.RequireToken(token))), nil
}

// plain says in words what went wrong, without the protocol's code.
func plain(err error, address string) error {
	var answer *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer) && connect.IsWireError(err):
		return errors.New(answer.Message())
	case connect.CodeOf(err) == connect.CodeUnavailable:
		return fmt.Errorf("the control plane does not answer at %s; is it still running?", address)
	default:
		return err
	}
}

// writeJSON writes a message as indented JSON, in the same form every time.
func writeJSON(w io.Writer, message proto.Message) error {
	raw, err := protojson.Marshal(message)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	_, err = indented.WriteTo(w)
	return err
}
