// SPDX-License-Identifier: Apache-2.0

// The Go half of the benchmark: `serve` is a cluster of one region that answers constant data, so
// that the client's cost is what remains; `load` puts client-go under the same loads that
// `bench/raw_bench.ts` puts the TypeScript client under, and `buffer` its write buffer under that of
// `bench/txn_buffer_bench.ts`.
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
	case "buffer":
		buffer(os.Args[2:])
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: bench serve [--address host:port]\n       bench load --pd host:port [--operation get] [--callers 256] [--seconds 2]\n       bench buffer --pd host:port [--keys 1000000] [--rounds 3]")
	os.Exit(2)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
