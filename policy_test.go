// Package biplane_test holds the rules of the whole repository that a compiler does not check.
package biplane_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "biplane.dev/biplane"

// contentFree are the packages that the control plane must not link, and why: its binary cannot read what the code to
// decode is not in it.
var contentFree = map[string]string{
	module + "/gen/flyteidl2": "its messages carry content: task specs, literals, environment variables, error texts, secrets",
	module + "/internal/data": "a data plane's code reads and writes content",
}

// sharedLeaves are the packages of ours that both planes may use, and why.
var sharedLeaves = map[string]string{
	module + "/internal/link":                         "the protocol between the planes",
	module + "/internal/link/dial":                    "the way out of a plane's account",
	module + "/gen/biplane/link/v1":                   "the messages of the link",
	module + "/gen/biplane/link/v1/linkv1connect":     "the service of the link",
	module + "/internal/link/enrol":                   "how a plane gets and keeps its identity",
	module + "/gen/biplane/enroll/v1":                 "the messages of enrolment",
	module + "/gen/biplane/enroll/v1/enrollv1connect": "the service of enrolment",
	module + "/internal/fault":                        "the vocabulary of errors",
	module + "/internal/names":                        "the identifiers",
	module + "/internal/rpc":                          "the one HTTP server",
	module + "/internal/store":                        "rows in SQL",
	module + "/internal/link/pace":                    "how long to wait",
	module + "/internal/link/tunnel":                  "the sessions that a plane dials and a relay opens streams in",
	module + "/gen/biplane/tunnel/v1":                 "how a stream of a tunnel begins",
}

// goodLicences are what an Apache-2.0 program may link.
var goodLicences = []string{"Apache-2.0", "MIT", "BSD", "ISC", "MPL-2.0"}

type listedPackage struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool
	GoFiles    []string
	Imports    []string
	Module     *struct {
		Path string
		Dir  string
		Main bool
	}
}

// list asks the go command about packages.
func list(t *testing.T, args ...string) []listedPackage {
	t.Helper()
	command := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Dir,Standard,GoFiles,Imports,Module"}, args...)...)
	var problem bytes.Buffer
	command.Stderr = &problem
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, &problem)
	}
	var all []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// below says whether a package is the given one or in a folder of it.
func below(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

func TestTheControlPlaneCannotReadContent(t *testing.T) {
	t.Parallel()
	linked := list(t, "-deps", "./cmd/biplane-control", "./internal/control/...")
	if len(linked) < 50 {
		t.Fatalf("only %d packages: the list is not what it should be", len(linked))
	}
	for _, p := range linked {
		for forbidden, why := range contentFree {
			if below(p.ImportPath, forbidden) {
				t.Errorf("biplane-control links %s: %s", p.ImportPath, why)
			}
		}
	}
}

func TestThePlanesShareOnlyTheLinkAndLeaves(t *testing.T) {
	t.Parallel()
	control := map[string]bool{}
	for _, p := range list(t, "-deps", "./internal/control/...") {
		control[p.ImportPath] = true
	}
	for _, p := range list(t, "-deps", "./internal/data/...") {
		if below(p.ImportPath, module+"/internal/control") {
			t.Errorf("internal/data imports %s", p.ImportPath)
		}
		if below(p.ImportPath, module) && control[p.ImportPath] && sharedLeaves[p.ImportPath] == "" {
			t.Errorf("both planes use %s, which is not on the list of what they may share", p.ImportPath)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		if below(p.ImportPath, module+"/gen") || len(p.GoFiles) == 0 {
			continue
		}
		file := "doc.go"
		if p.Name == "main" && !slices.Contains(p.GoFiles, file) {
			file = "main.go"
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", p.ImportPath, err)
			continue
		}
		if parsed.Doc == nil || len(parsed.Doc.Text()) < 40 {
			t.Errorf("%s: %s does not say what the package is for", p.ImportPath, file)
		}
	}
}

func TestEveryDependencyHasAGoodLicence(t *testing.T) {
	t.Parallel()
	folders := map[string]string{}
	for _, p := range list(t, "-deps", "-test", "./...") {
		if p.Module != nil && !p.Module.Main {
			folders[p.Module.Path] = p.Module.Dir
		}
	}
	if len(folders) < 5 {
		t.Fatalf("only %d dependencies: the list is not what it should be", len(folders))
	}
	for _, path := range slices.Sorted(maps.Keys(folders)) {
		licence := licenceOf(t, folders[path])
		if !slices.Contains(goodLicences, licence) {
			t.Errorf("%s has licence %q; allowed are %s", path, licence, strings.Join(goodLicences, ", "))
		}
	}
}

// licenceOf recognises the licence of a module by the words that only this licence has.
func licenceOf(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := strings.ToUpper(entry.Name())
		if entry.IsDir() || !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "LICENCE") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if licence := recognise(string(raw)); licence != "" {
			return licence
		}
	}
	return ""
}

func recognise(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, known := range []struct{ words, licence string }{
		{"GNU AFFERO GENERAL PUBLIC LICENSE Version", "AGPL"},
		{"GNU LESSER GENERAL PUBLIC LICENSE Version", "LGPL"},
		{"GNU GENERAL PUBLIC LICENSE Version", "GPL"},
		{"Apache License Version 2.0", "Apache-2.0"},
		{"Mozilla Public License Version 2.0", "MPL-2.0"},
		{"Mozilla Public License, version 2.0", "MPL-2.0"},
		{"Redistribution and use in source and binary forms, with or without modification, are permitted", "BSD"},
		{"Permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"},
		{"Permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"},
		{"Permission to use, copy, modify, and distribute this software for any purpose", "ISC"},
	} {
		if strings.Contains(text, known.words) {
			return known.licence
		}
	}
	return ""
}

func TestGeneratedCodeIsWhatTheGeneratorsMake(t *testing.T) {
	t.Parallel()
	fresh := t.TempDir()
	command := exec.Command("go", "run", "./tools/protogen", "-in", "proto", "-out", fresh)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	want, have := tree(t, fresh), tree(t, "gen")
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if have[path] != want[path] {
			t.Errorf("gen/%s is not what the generators make; run make generate", path)
		}
	}
	for path := range have {
		if _, made := want[path]; !made {
			t.Errorf("gen/%s is made by no generator", path)
		}
	}
}

func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		files[filepath.ToSlash(name)] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
