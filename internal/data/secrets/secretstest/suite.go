package secretstest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/internal/data/secrets"
	"biplane.dev/biplane/internal/fault"
)

// Run runs the suite. open returns the same backend, opened anew, every time it is called with the same test's t.
func Run(t *testing.T, open func(t *testing.T) secrets.Backend) {
	ctx := t.Context()
	const generic, pull = secret.SecretType_SECRET_TYPE_GENERIC, secret.SecretType_SECRET_TYPE_IMAGE_PULL_SECRET
	id := func(domain, project, name string) secrets.ID {
		return secrets.ID{Scope: secrets.Scope{Org: "o", Domain: domain, Project: project}, Name: name}
	}
	value := func(t *testing.T, b secrets.Backend, id secrets.ID) string {
		t.Helper()
		got, err := b.Value(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	list := func(t *testing.T, b secrets.Backend, scope secrets.Scope, after *secrets.ID, limit int) (got []string) {
		t.Helper()
		infos, err := b.List(ctx, scope, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			got = append(got, info.ID.Domain+"/"+info.ID.Project+"/"+info.ID.Name)
		}
		return got
	}
	t.Run("a secret lives until it is deleted, over a restart", func(t *testing.T) {
		b := open(t)
		before := time.Now().Add(-time.Second)
		binary := []byte{0, 1, 0xff, '\n'}
		if err := errors.Join(b.Create(ctx, id("d", "p", "a"), generic, []byte("one")), b.Create(ctx, id("", "", "b"), pull, binary), b.Create(ctx, id("", "", "empty"), generic, nil)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if value(t, b, id("d", "p", "a")) != "one" || value(t, b, id("", "", "b")) != string(binary) || value(t, b, id("", "", "empty")) != "" {
				t.Error("a value is not what was kept")
			}
			info, err := b.Info(ctx, id("", "", "b"))
			if err != nil || info.Type != pull || info.Created.Before(before) || info.Created.After(time.Now()) || info.ID != id("", "", "b") {
				t.Errorf("info %+v, %v", info, err)
			}
			b = open(t)
		}
		if err := b.Update(ctx, id("d", "p", "a"), generic, []byte("two")); err != nil {
			t.Fatal(err)
		}
		if got := value(t, open(t), id("d", "p", "a")); got != "two" {
			t.Errorf("after an update: %q", got)
		}
		b = open(t)
		if err := b.Delete(ctx, id("d", "p", "a")); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t).Value(ctx, id("d", "p", "a")); !fault.Is(err, fault.KindNotFound) {
			t.Errorf("after a deletion: %v", err)
		}
	})
	t.Run("the same name in two scopes is two secrets", func(t *testing.T) {
		b := open(t)
		for i, one := range []secrets.ID{id("", "", "n"), id("d", "", "n"), id("d", "p", "n"), id("d", "q", "n")} {
			if err := b.Create(ctx, one, generic, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Delete(ctx, id("d", "", "n")); err != nil {
			t.Fatal(err)
		}
		if value(t, b, id("", "", "n")) != "0" || value(t, b, id("d", "p", "n")) != "2" || value(t, b, id("d", "q", "n")) != "3" {
			t.Error("scopes are mixed up")
		}
		if _, err := b.Value(ctx, id("d", "", "n")); !fault.Is(err, fault.KindNotFound) {
			t.Errorf("deleted: %v", err)
		}
	})
	t.Run("what is there or not there is said, without the value", func(t *testing.T) {
		b := open(t)
		const hidden = "the-hidden-value"
		if err := b.Create(ctx, id("", "", "n"), generic, []byte(hidden)); err != nil {
			t.Fatal(err)
		}
		again := b.Create(ctx, id("", "", "n"), generic, []byte(hidden))
		if !fault.Is(again, fault.KindExists) {
			t.Errorf("created twice: %v", again)
		}
		_, info := b.Info(ctx, id("", "", "x"))
		_, read := b.Value(ctx, id("", "", "x"))
		for name, err := range map[string]error{"update": b.Update(ctx, id("", "", "x"), generic, []byte(hidden)), "delete": b.Delete(ctx, id("", "", "x")), "info": info, "value": read} {
			if !fault.Is(err, fault.KindNotFound) {
				t.Errorf("%s: %v", name, err)
			}
			for cause := err; cause != nil; cause = errors.Unwrap(cause) {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", cause, cause, cause), hidden) {
					t.Errorf("the error of %s holds the value", name)
				}
			}
		}
	})
	t.Run("lists are in order, by scope, in pages", func(t *testing.T) {
		b := open(t)
		for _, one := range []secrets.ID{id("e", "p", "z"), id("d", "q", "c"), id("d", "p", "b"), id("d", "p", "a"), id("d", "", "m"), id("", "", "o")} {
			if err := b.Create(ctx, one, generic, []byte("v")); err != nil {
				t.Fatal(err)
			}
		}
		all := []string{"//o", "d//m", "d/p/a", "d/p/b", "d/q/c", "e/p/z"}
		if got := list(t, b, secrets.Scope{Org: "o"}, nil, 100); !slices.Equal(got, all) {
			t.Errorf("organisation: %v", got)
		}
		if got := list(t, b, secrets.Scope{Org: "o", Domain: "d"}, nil, 100); !slices.Equal(got, all[1:5]) {
			t.Errorf("domain: %v", got)
		}
		if got := list(t, b, secrets.Scope{Org: "o", Domain: "d", Project: "p"}, nil, 100); !slices.Equal(got, all[2:4]) {
			t.Errorf("project: %v", got)
		}
		if got := list(t, b, secrets.Scope{Org: "other"}, nil, 100); len(got) != 0 {
			t.Errorf("another organisation: %v", got)
		}
		after := id("d", "p", "a0") // was deleted since it ended a page
		if got := list(t, b, secrets.Scope{Org: "o"}, &after, 2); !slices.Equal(got, all[3:5]) {
			t.Errorf("page: %v", got)
		}
	})
	t.Run("a value that was read is the reader's own", func(t *testing.T) {
		b := open(t)
		given := []byte("value")
		if err := b.Create(ctx, id("", "", "n"), generic, given); err != nil {
			t.Fatal(err)
		}
		given[0] = 'X'
		got, err := b.Value(ctx, id("", "", "n"))
		if err != nil {
			t.Fatal(err)
		}
		got[1] = 'X'
		if again := value(t, b, id("", "", "n")); again != "value" {
			t.Errorf("the value became %q", again)
		}
	})
	t.Run("changes at once do not lose each other", func(t *testing.T) {
		b := open(t)
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				if err := b.Create(ctx, id("", "", fmt.Sprint("n", i)), generic, bytes.Repeat([]byte{'v'}, i)); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if got := list(t, open(t), secrets.Scope{Org: "o"}, nil, 100); len(got) != 20 {
			t.Errorf("%d are left", len(got))
		}
	})
}
