package engine

import "testing"

// Where the inputs lie is not changed by how it is kept, and the address that nearly all actions have takes no memory of its own.
func TestInputURI(t *testing.T) {
	t.Parallel()
	for uri, kept := range map[string]string{
		"/base/child/inputs.pb":      usualInput,
		"/base/child/inputs.pb2":     "/base/child/inputs.pb2",
		"/base/other/inputs.pb":      "/base/other/inputs.pb",
		"/elsewhere/child/inputs.pb": "/elsewhere/child/inputs.pb",
		"":                           "",
	} {
		a := &Action{Name: "child", OutputBase: "/base"}
		a.SetInputURI(uri)
		if a.InputURI() != uri || a.input != kept {
			t.Errorf("%q is kept as %q and read as %q", uri, a.input, a.InputURI())
		}
	}
}
