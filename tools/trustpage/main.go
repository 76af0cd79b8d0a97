// Trustpage writes the table "what leaves your account" of docs/trust.md from the descriptors of biplane.link.v1: every
// message that a data plane can send, and of each the fields with their classes.
//
//	go run ./tools/trustpage
//
// A test of this package fails when the page is not what the descriptors say, and when a message can be sent of which
// reasons.go does not say why it has to leave.
package main

import (
	"fmt"
	"os"
	"strings"
)

const (
	pagePath = "docs/trust.md"
	begin    = "<!-- From here to the end mark: written by go run ./tools/trustpage; do not edit. -->\n"
	end      = "<!-- End mark. -->\n"
)

func main() {
	page, err := os.ReadFile(pagePath)
	if err == nil {
		page, err = renew(page, "proto")
	}
	if err == nil {
		err = os.WriteFile(pagePath, page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "trustpage:", err)
		os.Exit(1)
	}
}

// renew is the page with a table made of the .proto files below a folder.
func renew(page []byte, protos string) ([]byte, error) {
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return nil, fmt.Errorf("%s has no two marks for the table", pagePath)
	}
	said, err := comments(protos)
	if err != nil {
		return nil, err
	}
	text, err := table(sent(), said)
	return []byte(before + begin + "\n" + text + end + after), err
}
