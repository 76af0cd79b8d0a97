package boundary_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"biplane.dev/biplane/internal/boundary"
)

// folder writes files and returns where.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// everything is a data plane in which every marker has arrived.
func everything(p *boundary.Probe) string {
	var all strings.Builder
	for _, place := range boundary.Places {
		all.WriteString("<" + string(p.Content) + place.Code + ">")
	}
	return all.String()
}

func TestLook(t *testing.T) {
	t.Parallel()
	p := boundary.NewProbe()
	name, leak := string(p.Name)+"-run", string(p.Content)+"secr"
	data := folder(t, map[string]string{"plane.db": everything(p)})
	for title, c := range map[string]struct {
		control map[string]string
		data    string
		want    string // of the only problem; "" is none
	}{
		"held":            {map[string]string{"control.db": "the run " + name}, data, ""},
		"a leak":          {map[string]string{"control.db": name + leak}, data, "content is in the control plane's database, 1 times: secret;"},
		"a blind search":  {map[string]string{"control.db": "something"}, data, "the search proves nothing"},
		"nothing there":   {map[string]string{"control.db": ""}, data, "nothing of the control plane's database"},
		"nothing arrived": {map[string]string{"control.db": name}, folder(t, map[string]string{"x": string(p.Content) + "code"}), "not in the data plane either"},
		"in a file name":  {map[string]string{"control.db": name, leak: "x"}, data, "content is in the control plane's database"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			report, err := p.Look([]boundary.Target{{Kind: "database", Files: []string{folder(t, c.control)}, Named: true}}, []string{c.data})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(report.Problems) != 0:
				t.Fatal(report.Problems)
			case c.want != "" && (len(report.Problems) != 1 || !strings.Contains(report.Problems[0], c.want)):
				t.Fatalf("%q, want one with %q", report.Problems, c.want)
			}
		})
	}
	if _, err := p.Look([]boundary.Target{{Kind: "log", Files: []string{filepath.Join(data, "missing")}}}, nil); err == nil {
		t.Fatal("a file that is not there was searched without an error")
	}
}
