// SPDX-License-Identifier: Apache-2.0

// The judge of the playground: client-go, written by others, uses a cluster and tells what differs
// from what TiKV promises. `suite` runs the cases one after another, `list` names them, `workload`
// runs a seeded history of raw calls and prints every answer, `serve` makes the calls of transactions
// that it is told to (serve.go).
//
// Everything it says is one JSON object a line on the standard output. What it wants done to the
// cluster ("do") it asks there too, and reads the answer from the standard input.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/log"
	"github.com/tikv/client-go/v2/config"
	"go.uber.org/zap"
)

type settings struct {
	pd       string
	api      string
	keyspace string
	only     string
	tls      string
	control  string
	seed     uint
	calls    int
}

func (s *settings) security() config.Security {
	if s.tls == "" {
		return config.Security{}
	}
	file := func(name string) string { return filepath.Join(s.tls, name) }
	return config.NewSecurity(file("ca.pem"), file("cert.pem"), file("key.pem"), nil)
}

func (s *settings) isV2() bool   { return s.api == "v2" }
func (s *settings) hasTTL() bool { return s.api != "v1" }

func (s *settings) version() kvrpcpb.APIVersion {
	if s.isV2() {
		return kvrpcpb.APIVersion_V2
	}
	return kvrpcpb.APIVersion_V1
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	var s settings
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&s.pd, "pd", "127.0.0.1:2379", "PD addresses, separated by commas")
	flags.StringVar(&s.api, "api", "v1", "v1, v1ttl or v2: what the stores run")
	flags.StringVar(&s.keyspace, "keyspace", "", "keyspace to work in (v2)")
	flags.StringVar(&s.only, "only", "", "run only the cases whose name matches this expression")
	flags.StringVar(&s.tls, "tls", "", "folder with ca.pem, cert.pem and key.pem")
	flags.StringVar(&s.control, "control", "driver", "who changes the cluster: driver (standard input and output) or pd (its own calls)")
	flags.UintVar(&s.seed, "seed", 1, "seed of the workload")
	flags.IntVar(&s.calls, "calls", 300, "calls of the workload")
	_ = flags.Parse(os.Args[2:])
	log.ReplaceGlobals(zap.NewNop(), &log.ZapProperties{})

	switch os.Args[1] {
	case "list":
		for _, c := range allCases() {
			say(map[string]any{"name": c.name, "apis": c.apis})
		}
	case "suite":
		runSuite(&s)
	case "workload":
		runWorkload(&s)
	case "serve":
		runServe(&s)
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: interop list | suite --pd host:port [--api v1|v1ttl|v2] | workload --pd host:port --seed N | serve --pd host:port")
	os.Exit(2)
}
