// SPDX-License-Identifier: Apache-2.0

// Command proto moves the TiKV definitions from the pinned Go module into this repository.
//
//	proto extract OUT_DIR    writes OUT_DIR/*.proto, OUT_DIR/descriptors.json and OUT_DIR/PIN
//	proto compile PROTO_DIR  compiles every .proto file below PROTO_DIR; a FileDescriptorSet on stdout
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "proto:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New(`want "extract OUT_DIR" or "compile PROTO_DIR"`)
	}
	switch args[0] {
	case "extract":
		return extract(args[1])
	case "compile":
		return compile(args[1], out)
	default:
		return fmt.Errorf(`unknown command "%s": want "extract" or "compile"`, args[0])
	}
}
