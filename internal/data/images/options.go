package images

import (
	"slices"
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/internal/fault"
)

// options are the installer options of a layer.
type options struct {
	Index string   // replaces the default index
	Extra []string // further indexes
	Pre   bool     // pre-releases too
	Args  []string // for uv as they are
}

// Options of uv that would install elsewhere than into the environment, or leave the plane's settings: where an environment
// lies is the plane's to choose. The short forms are checked by their first letter.
var (
	pipRefused = refused{
		long: []string{"--target", "--prefix", "--root", "--python", "--system", "--break-system-packages", "--cache-dir", "--directory",
			"--project", "--config-file", "--managed-python", "--python-preference", "--allow-python-downloads", "--editable"},
		short: "pte",
	}
	syncRefused = refused{
		long: []string{"--python", "--active", "--cache-dir", "--directory", "--project", "--config-file", "--managed-python",
			"--python-preference", "--allow-python-downloads", "--exact", "--editable"},
		short: "p",
	}
)

type refused struct {
	long  []string
	short string
}

func (r refused) has(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	if strings.HasPrefix(name, "--") {
		return slices.Contains(r.long, name)
	}
	return len(name) > 1 && name[0] == '-' && strings.ContainsRune(r.short, rune(name[1]))
}

func parseOptions(field string, o *imagebuilder.PipOptions, no refused) (options, error) {
	args, err := splitWords(o.GetExtraArgs())
	if err != nil {
		return options{}, fault.Invalid(field+".extra_args", "%v", err)
	}
	for _, arg := range args {
		if no.has(arg) {
			return options{}, fault.Invalid(field+".extra_args",
				"%s cannot be given: where the environment lies and which Python it has is the data plane's to choose", arg)
		}
	}
	for _, index := range append([]string{o.GetIndexUrl()}, o.GetExtraIndexUrls()...) {
		if strings.ContainsAny(index, " \t\r\n\x00") {
			return options{}, fault.Invalid(field, "an index URL holds a space")
		}
	}
	return options{Index: o.GetIndexUrl(), Extra: o.GetExtraIndexUrls(), Pre: o.GetPre(), Args: args}, nil
}

// args are the options for uv's command line.
func (o options) args() []string {
	var args []string
	if o.Pre {
		args = append(args, "--prerelease=allow")
	}
	return append(args, o.Args...)
}

// env are the options that may hold a password and so never stand on a command line, where everybody on the machine
// can read them.
func (o options) env(machine map[string]string) map[string]string {
	env := map[string]string{}
	if o.Index != "" {
		env["UV_DEFAULT_INDEX"], env["UV_INDEX_URL"] = o.Index, ""
	}
	if len(o.Extra) > 0 {
		env["UV_INDEX"] = strings.TrimSpace(strings.Join(o.Extra, " ") + " " + machine["UV_INDEX"])
	}
	return env
}

type wordsError string

func (e wordsError) Error() string { return string(e) }

// splitWords splits as a shell does, as far as options need it: spaces separate, quotes and backslashes keep.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range text {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case r == 0:
			return nil, wordsError("holds a NUL character")
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, wordsError("a quote or a backslash at the end is open")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
