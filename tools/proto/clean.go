// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// clean keeps what goes over the wire: options of other generators, file options and sources are dropped.
func clean(file *descriptorpb.FileDescriptorProto) {
	file.Options = nil
	file.SourceCodeInfo = nil
	for _, message := range file.MessageType {
		cleanMessage(message)
	}
	for _, enum := range file.EnumType {
		cleanEnum(enum)
	}
	for _, service := range file.Service {
		service.Options = known(service.Options)
		for _, method := range service.Method {
			method.Options = known(method.Options)
		}
	}
}

func cleanMessage(message *descriptorpb.DescriptorProto) {
	message.Options = known(message.Options)
	for _, field := range message.Field {
		field.Options = known(field.Options)
	}
	for _, oneof := range message.OneofDecl {
		oneof.Options = known(oneof.Options)
	}
	for _, nested := range message.NestedType {
		cleanMessage(nested)
	}
	for _, enum := range message.EnumType {
		cleanEnum(enum)
	}
}

func cleanEnum(enum *descriptorpb.EnumDescriptorProto) {
	enum.Options = known(enum.Options)
	for _, value := range enum.Value {
		value.Options = known(value.Options)
	}
}

// known removes custom options; options that say nothing more become nil.
func known[T interface {
	comparable
	pb.Message
}](options T) T {
	var none T
	if options == none {
		return none
	}
	options.ProtoReflect().SetUnknown(nil)
	if pb.Size(options) == 0 {
		return none
	}
	return options
}

// dropUnusedImports keeps an import only when a field or a method refers to a type of it.
func dropUnusedImports(files []*descriptorpb.FileDescriptorProto) {
	owner := map[string]string{}
	for _, file := range files {
		walkTypes(file, func(name string, _ *descriptorpb.DescriptorProto, _ *descriptorpb.EnumDescriptorProto) {
			owner["."+name] = file.GetName()
		})
	}
	for _, file := range files {
		used := map[string]bool{}
		walkTypes(file, func(_ string, message *descriptorpb.DescriptorProto, _ *descriptorpb.EnumDescriptorProto) {
			for _, field := range message.GetField() {
				used[owner[field.GetTypeName()]] = true
			}
		})
		for _, service := range file.Service {
			for _, method := range service.Method {
				used[owner[method.GetInputType()]] = true
				used[owner[method.GetOutputType()]] = true
			}
		}
		file.PublicDependency = nil
		file.WeakDependency = nil
		file.Dependency = slices.DeleteFunc(file.Dependency, func(name string) bool { return !used[name] })
		slices.Sort(file.Dependency)
	}
}

// walkTypes visits every message and enum of a file with its full name, nested ones after their parent.
func walkTypes(
	file *descriptorpb.FileDescriptorProto,
	visit func(name string, message *descriptorpb.DescriptorProto, enum *descriptorpb.EnumDescriptorProto),
) {
	for _, message := range file.MessageType {
		walkMessage(file.GetPackage(), message, visit)
	}
	for _, enum := range file.EnumType {
		visit(file.GetPackage()+"."+enum.GetName(), nil, enum)
	}
}

func walkMessage(
	scope string,
	message *descriptorpb.DescriptorProto,
	visit func(name string, message *descriptorpb.DescriptorProto, enum *descriptorpb.EnumDescriptorProto),
) {
	name := scope + "." + message.GetName()
	visit(name, message, nil)
	for _, nested := range message.NestedType {
		walkMessage(name, nested, visit)
	}
	for _, enum := range message.EnumType {
		visit(name+"."+enum.GetName(), nil, enum)
	}
}
