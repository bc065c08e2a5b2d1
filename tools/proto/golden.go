// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"
)

// golden is what a test compares the generated TypeScript with. A member is one line of words, so that a
// difference reads as a difference of the definition:
//
//	file     "metapb", "proto3", "encryptionpb.proto" …           package, syntax, imports
//	message  "2 region_epoch singular message metapb.RegionEpoch"  number name cardinality type [extras]
//	enum     "1 Low"                                               number name
//	service  "RawGet unary kvrpcpb.RawGetRequest kvrpcpb.RawGetResponse"
//
// Cardinality is singular, repeated, or map with the types of key and value. Extras are packed, deprecated,
// explicit (proto3 optional) and oneof with its name.
type golden struct {
	Files    map[string][]string `json:"files"`
	Messages map[string][]string `json:"messages"`
	Enums    map[string][]string `json:"enums"`
	Services map[string][]string `json:"services"`
}

func writeGolden(path string, files []*descriptorpb.FileDescriptorProto) error {
	all := golden{
		Files:    map[string][]string{},
		Messages: map[string][]string{},
		Enums:    map[string][]string{},
		Services: map[string][]string{},
	}
	for _, file := range files {
		all.Files[file.GetName()] = append([]string{file.GetPackage(), syntaxOf(file)}, file.Dependency...)
		walkTypes(file, func(name string, message *descriptorpb.DescriptorProto, enum *descriptorpb.EnumDescriptorProto) {
			if enum != nil {
				all.Enums[name] = enumLines(enum)
			} else if !message.GetOptions().GetMapEntry() {
				all.Messages[name] = messageLines(message)
			}
		})
		for _, service := range file.Service {
			all.Services[file.GetPackage()+"."+service.GetName()] = serviceLines(service)
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

func syntaxOf(file *descriptorpb.FileDescriptorProto) string {
	if file.GetSyntax() == "" {
		return "proto2"
	}
	return file.GetSyntax()
}

func enumLines(enum *descriptorpb.EnumDescriptorProto) []string {
	lines := []string{}
	for _, value := range enum.Value {
		lines = append(lines, strconv.Itoa(int(value.GetNumber()))+" "+value.GetName())
	}
	return lines
}

func messageLines(message *descriptorpb.DescriptorProto) []string {
	lines := []string{}
	for _, field := range message.Field {
		words := []string{strconv.Itoa(int(field.GetNumber())), field.GetName()}
		if entry := mapEntry(message, field); entry != nil {
			words = append(words, "map", typeWords(entry.Field[0]), typeWords(entry.Field[1]))
		} else if field.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REPEATED {
			words = append(words, "repeated", typeWords(field))
		} else {
			words = append(words, "singular", typeWords(field))
		}
		if field.GetProto3Optional() {
			words = append(words, "explicit")
		} else if field.OneofIndex != nil {
			words = append(words, "oneof", message.OneofDecl[field.GetOneofIndex()].GetName())
		}
		if isPacked(field) {
			words = append(words, "packed")
		}
		if field.GetOptions().GetDeprecated() {
			words = append(words, "deprecated")
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

// mapEntry returns the hidden message behind a map field, or nil for other fields.
func mapEntry(message *descriptorpb.DescriptorProto, field *descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
	for _, nested := range message.NestedType {
		if nested.GetOptions().GetMapEntry() && strings.HasSuffix(field.GetTypeName(), "."+nested.GetName()) {
			return nested
		}
	}
	return nil
}

// typeWords is the name of a scalar type, or "message" or "enum" and the name of the type.
func typeWords(field *descriptorpb.FieldDescriptorProto) string {
	kind := strings.ToLower(strings.TrimPrefix(field.GetType().String(), "TYPE_"))
	if field.GetTypeName() == "" {
		return kind
	}
	return kind + " " + strings.TrimPrefix(field.GetTypeName(), ".")
}

// isPacked follows proto3: repeated numbers are packed unless an option says otherwise.
func isPacked(field *descriptorpb.FieldDescriptorProto) bool {
	if field.GetLabel() != descriptorpb.FieldDescriptorProto_LABEL_REPEATED {
		return false
	}
	switch field.GetType() {
	case descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_BYTES,
		descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, descriptorpb.FieldDescriptorProto_TYPE_GROUP:
		return false
	}
	return field.GetOptions() == nil || field.Options.Packed == nil || field.Options.GetPacked()
}

func serviceLines(service *descriptorpb.ServiceDescriptorProto) []string {
	lines := []string{}
	for _, method := range service.Method {
		kind := "unary"
		switch {
		case method.GetClientStreaming() && method.GetServerStreaming():
			kind = "bidi_streaming"
		case method.GetClientStreaming():
			kind = "client_streaming"
		case method.GetServerStreaming():
			kind = "server_streaming"
		}
		lines = append(lines, strings.Join([]string{
			method.GetName(),
			kind,
			strings.TrimPrefix(method.GetInputType(), "."),
			strings.TrimPrefix(method.GetOutputType(), "."),
		}, " "))
	}
	return lines
}
