// Protogen compiles every .proto file below a folder and runs the Go generators over them.
//
// It stands in for protoc, so that generating needs the Go toolchain only: the compiler is a Go library and the
// generators are `go tool` dependencies pinned in go.mod.
//
//	go run ./tools/protogen -in proto -out gen
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

const module = "biplane.dev/biplane/gen"

func main() {
	in := flag.String("in", "proto", "folder with the .proto files")
	out := flag.String("out", "gen", "folder that the generated code goes to; its *.go files are replaced")
	flag.Parse()
	if err := generate(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func generate(in, out string) error {
	var names []string
	err := filepath.WalkDir(in, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".proto") {
			return err
		}
		rel, err := filepath.Rel(in, path)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return err
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{in}},
			protocompile.ResolverFunc(linked),
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: names}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		request.ProtoFile = append(request.ProtoFile, protodesc.ToFileDescriptorProto(file))
	}
	for _, file := range files {
		add(file)
	}
	if err := removeGenerated(out); err != nil {
		return err
	}
	for _, plugin := range []struct{ tool, parameter string }{
		{"protoc-gen-go", "module=" + module},
		{"protoc-gen-connect-go", "module=" + module + ",simple"},
	} {
		if err := run(plugin.tool, plugin.parameter, request, out); err != nil {
			return fmt.Errorf("%s: %w", plugin.tool, err)
		}
	}
	return nil
}

// linked answers the one import that is neither ours nor protobuf's own from the Go package that holds it.
func linked(path string) (protocompile.SearchResult, error) {
	if path != status.File_google_rpc_status_proto.Path() {
		return protocompile.SearchResult{}, os.ErrNotExist
	}
	return protocompile.SearchResult{Desc: status.File_google_rpc_status_proto}, nil
}

func removeGenerated(out string) error {
	err := filepath.WalkDir(out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if strings.HasSuffix(path, ".pb.go") || strings.HasSuffix(path, ".connect.go") {
			return os.Remove(path)
		}
		return nil
	})
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func run(tool, parameter string, request *pluginpb.CodeGeneratorRequest, out string) error {
	request.Parameter = proto.String(parameter)
	request.CompilerVersion = &pluginpb.Version{Major: proto.Int32(5), Minor: proto.Int32(29), Patch: proto.Int32(0)}
	raw, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	command := exec.Command("go", "tool", tool)
	command.Stdin, command.Stderr = bytes.NewReader(raw), os.Stderr
	answer, err := command.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(answer, &response); err != nil {
		return err
	}
	if response.GetError() != "" {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, file := range response.GetFile() {
		path := filepath.Join(out, filepath.FromSlash(file.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
