// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/golang/protobuf/proto" //nolint:staticcheck // the registry that the generated packages use
	"github.com/jhump/protoreflect/v2/protoprint"
	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/pingcap/kvproto/pkg/coprocessor"
	_ "github.com/pingcap/kvproto/pkg/deadlock"
	_ "github.com/pingcap/kvproto/pkg/gcpb"
	_ "github.com/pingcap/kvproto/pkg/keyspacepb"
	_ "github.com/pingcap/kvproto/pkg/meta_storagepb"
	_ "github.com/pingcap/kvproto/pkg/pdpb"
	_ "github.com/pingcap/kvproto/pkg/resource_manager"
	_ "github.com/pingcap/kvproto/pkg/routerpb"
	_ "github.com/pingcap/kvproto/pkg/schedulingpb"
	_ "github.com/pingcap/kvproto/pkg/tikvpb"
	_ "github.com/pingcap/kvproto/pkg/tsopb"
)

const module = "github.com/pingcap/kvproto"

// roots are the files a client needs; what they import follows.
var roots = []string{
	"coprocessor.proto",
	"deadlock.proto",
	"gcpb.proto",
	"keyspacepb.proto",
	"meta_storagepb.proto",
	"pdpb.proto",
	"resource_manager.proto",
	"routerpb.proto",
	"schedulingpb.proto",
	"tikvpb.proto",
	"tsopb.proto",
}

// codeGenOnly are imports that carry options for other generators and no message.
var codeGenOnly = []string{"gogoproto/gogo.proto", "rustproto.proto"}

// topLevel finds the lines that get an empty line before them; the printer sets none.
var topLevel = regexp.MustCompile(`(?m)^((?:package|message|enum|service) )`)

const header = `// SPDX-License-Identifier: Apache-2.0
// Written by tools/proto from the descriptors of %s; see PIN. Do not edit.

`

func extract(dir string) error {
	version, err := pinnedVersion()
	if err != nil {
		return err
	}
	files, err := collect()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := printFiles(dir, files); err != nil {
		return err
	}
	if err := writeGolden(filepath.Join(dir, "descriptors.json"), files); err != nil {
		return err
	}
	pin := fmt.Sprintf("module %s\nversion %s\ndate %s\n", module, version, versionDate(version))
	return os.WriteFile(filepath.Join(dir, "PIN"), []byte(pin), 0o644)
}

// collect reads the embedded descriptors of the roots and of everything they use, sorted by name.
func collect() ([]*descriptorpb.FileDescriptorProto, error) {
	found := map[string]*descriptorpb.FileDescriptorProto{}
	queue := slices.Clone(roots)
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if found[name] != nil || slices.Contains(codeGenOnly, name) {
			continue
		}
		file, err := embedded(name)
		if err != nil {
			return nil, err
		}
		queue = append(queue, file.Dependency...)
		found[name] = file
	}
	all := make([]*descriptorpb.FileDescriptorProto, 0, len(found))
	for _, file := range found {
		all = append(all, file)
	}
	slices.SortFunc(all, func(a, b *descriptorpb.FileDescriptorProto) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	dropUnusedImports(all)
	return all, nil
}

func embedded(name string) (*descriptorpb.FileDescriptorProto, error) {
	packed := proto.FileDescriptor(name)
	if packed == nil {
		return nil, fmt.Errorf("no descriptor is registered for %s", name)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	raw, err := io.ReadAll(reader)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	file := &descriptorpb.FileDescriptorProto{}
	// An empty resolver leaves every custom option among the unknown fields, where clean removes it.
	if err := (pb.UnmarshalOptions{Resolver: new(protoregistry.Types)}).Unmarshal(raw, file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	clean(file)
	return file, nil
}

// printFiles writes each definition below dir under its import path.
func printFiles(dir string, files []*descriptorpb.FileDescriptorProto) error {
	registry, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		return err
	}
	printer := protoprint.Printer{
		OmitComments: protoprint.CommentsAll,
		Compact:      true,
		Indent:       "  ",
	}
	var failed error
	registry.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		failed = printFile(&printer, filepath.Join(dir, file.Path()), file)
		return failed == nil
	})
	return failed
}

func printFile(printer *protoprint.Printer, path string, file protoreflect.FileDescriptor) error {
	text, err := printer.PrintProtoToString(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file.Path(), err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text = strings.Replace(text, "\nimport ", "\n\nimport ", 1)
	text = topLevel.ReplaceAllString(text, "\n$1")
	return os.WriteFile(path, []byte(fmt.Sprintf(header, module)+text), 0o644)
}

func pinnedVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", fmt.Errorf("the binary has no build information")
	}
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version, nil
		}
	}
	return "", fmt.Errorf("%s is not among the dependencies", module)
}

// versionDate takes the commit date out of a pseudo-version such as v0.0.0-20260724054804-059694ae4472.
func versionDate(version string) string {
	parts := strings.Split(version, "-")
	if len(parts) < 3 {
		return "unknown"
	}
	stamp := parts[len(parts)-2]
	stamp = stamp[strings.LastIndex(stamp, ".")+1:]
	date, err := time.Parse("20060102150405", stamp)
	if err != nil {
		return "unknown"
	}
	return date.Format(time.DateOnly)
}
