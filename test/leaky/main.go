// Leaky is the control plane with a planted leak: it reads what is not its own, the files of a data plane on the same machine, and
// lets it get into its log, one of its files and its memory, each in another form. The boundary test has to catch it in all three;
// nothing else runs it.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"biplane.dev/biplane/internal/control/plane"
	"biplane.dev/biplane/internal/tether"
)

// remembered is what stays in memory.
var remembered [][]byte

func main() {
	var o struct {
		State      string `required:"" type:"path"`
		LocalPlane string
		Lifeline   bool
	}
	kong.Parse(&o)
	ctx, release := tether.Stopped(os.Stdin)
	defer release()
	go leak(ctx, filepath.Join(o.State, "..", "data"), filepath.Join(o.State, "leak"))
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var local plane.LocalPlane
	local.Name, local.Folder, _ = strings.Cut(o.LocalPlane, "=")
	err := plane.Run(ctx, plane.Config{State: o.State, Hosts: []string{"localhost", "127.0.0.1"}, LocalPlane: local, LinkListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Log: log})
	runtime.KeepAlive(remembered)
	if err != nil {
		fmt.Fprintln(os.Stderr, "leaky:", err)
		os.Exit(1)
	}
}

// leak takes the errors of tasks as they appear.
func leak(ctx context.Context, from, to string) {
	seen := map[string]bool{}
	for ctx.Err() == nil {
		_ = filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Name() != "error.pb" || seen[path] {
				return nil
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			seen[path] = true
			fmt.Fprintf(os.Stderr, "an error of a task: %x\n", raw)
			_ = os.WriteFile(to, []byte(base64.StdEncoding.EncodeToString(raw)), 0o600)
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			_, _ = z.Write(raw)
			_ = z.Close()
			remembered = append(remembered, packed.Bytes())
			return nil
		})
		time.Sleep(20 * time.Millisecond)
	}
}
