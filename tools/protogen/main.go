// Command protogen compiles .proto files and runs protoc-gen-go over them, so
// that generating needs Go and nothing else. Both are pinned in tools/go.mod,
// and the plug-in is built from there, so the same source gives the same bytes.
//
//	protogen -I DIR -prefix PATH -out DIR FILE.proto...
//
// A file is known to the registry as PATH/FILE.proto. Its output goes to DIR as
// FILE.pb.go.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	dir := flag.String("I", ".", "directory that holds the .proto files")
	prefix := flag.String("prefix", "", "path under which the files are registered")
	out := flag.String("out", ".", "directory to write to")
	flag.Parse()
	if err := run(*dir, *prefix, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(dir, prefix, out string, names []string) error {
	if len(names) == 0 {
		return errors.New("name at least one .proto file")
	}
	files, err := compile(dir, prefix, names)
	if err != nil {
		return err
	}
	req := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("paths=source_relative")}
	seen := map[string]bool{}
	for _, f := range files {
		req.FileToGenerate = append(req.FileToGenerate, f.Path())
		req.ProtoFile = withImports(req.ProtoFile, seen, f)
	}
	resp, err := plugin(req)
	if err != nil {
		return err
	}
	for _, f := range resp.GetFile() {
		name := filepath.Join(out, path.Base(f.GetName()))
		if err := os.WriteFile(name, []byte(f.GetContent()), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// compile reads PREFIX/NAME from DIR/NAME and the well-known imports from the
// compiler.
func compile(dir, prefix string, names []string) (linker.Files, error) {
	sources := map[string]string{}
	var paths []string
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", n, err)
		}
		p := path.Join(prefix, n)
		sources[p] = string(b)
		paths = append(paths, p)
	}
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			Accessor: protocompile.SourceAccessorFromMap(sources),
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(context.Background(), paths...)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	return files, nil
}

// withImports appends f after everything it imports, as plug-ins expect.
func withImports(to []*descriptorpb.FileDescriptorProto, seen map[string]bool, f protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return to
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		to = withImports(to, seen, f.Imports().Get(i).FileDescriptor)
	}
	return append(to, protodesc.ToFileDescriptorProto(f))
}

func plugin(req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	cmd := exec.Command("go", "tool", "protoc-gen-go")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run protoc-gen-go: %w", err)
	}
	resp := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(b, resp); err != nil {
		return nil, fmt.Errorf("decode response: %w", err)
	}
	if resp.Error != nil {
		return nil, errors.New(resp.GetError())
	}
	return resp, nil
}
