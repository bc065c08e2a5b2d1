// SPDX-License-Identifier: Apache-2.0

// The Go half of the benchmark: `serve` is a cluster of one region that answers constant data, so
// that the client's cost is what remains; `load` puts client-go's rawkv under the same loads that
// `bench/raw_bench.ts` puts the TypeScript client under.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2:])
	case "load":
		load(os.Args[2:])
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: bench serve [--address host:port]\n       bench load --pd host:port [--operation get] [--callers 256] [--seconds 2]")
	os.Exit(2)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
