// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/tikv/client-go/v2/config"
	"github.com/tikv/client-go/v2/txnkv"
	"github.com/tikv/client-go/v2/txnkv/transaction"
)

// `serve` is client-go by remote control: each line of the standard input is a call on a client for
// transactions, each line of the standard output the answer to one. Calls run at the same time;
// whoever wants an order waits for the answer. The program ends with its input, or when it is killed.

// A call; which fields count depends on `op`. Keys and values are hexadecimal, timestamps decimal.
type remoteCall struct {
	ID          int      `json:"id"`
	Op          string   `json:"op"`
	Txn         string   `json:"txn"`
	Pessimistic bool     `json:"pessimistic"`
	Commit      string   `json:"commit"`
	Causal      bool     `json:"causal"`
	Pipelined   bool     `json:"pipelined"`
	NoResolve   bool     `json:"noResolve"`
	Strict      bool     `json:"strict"`
	Ts          string   `json:"ts"`
	Keys        []string `json:"keys"`
	Value       string   `json:"value"`
	Start       string   `json:"start"`
	End         string   `json:"end"`
	Limit       int      `json:"limit"`
	Reverse     bool     `json:"reverse"`
	KeysOnly    bool     `json:"keysOnly"`
	WaitMs      int64    `json:"waitMs"`
	OnlyIfFound bool     `json:"onlyIfExists"`
	Exists      bool     `json:"exists"`
	Step        string   `json:"step"`
}

type server struct {
	client *txnkv.Client
	mutex  sync.Mutex
	txns   map[string]*openTxn
}

// openTxn is a transaction of the caller's, by the name that the caller gave it.
type openTxn struct {
	*transaction.KVTxn
	path string
}

func runServe(s *settings) {
	config.UpdateGlobal(func(conf *config.Config) { conf.Security = s.security() })
	client, err := txnkv.NewClient(strings.Split(s.pd, ","), txnkv.WithAPIVersion(s.version()), txnkv.WithKeyspace(s.keyspace))
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot connect:", err)
		os.Exit(1)
	}
	defer client.Close()
	server := &server{client: client, txns: map[string]*openTxn{}}
	say(map[string]any{"ready": true})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	var running sync.WaitGroup
	for lines.Scan() {
		var call remoteCall
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			fmt.Fprintln(os.Stderr, "cannot read a call:", err)
			os.Exit(2)
		}
		running.Add(1)
		go func() {
			defer running.Done()
			server.answer(&call)
		}()
	}
	running.Wait()
}

// An answer is a result, or the kind of an error in the words of this project with what it carries.
func (s *server) answer(call *remoteCall) {
	defer func() {
		if thrown := recover(); thrown != nil {
			say(map[string]any{"id": call.ID, "error": map[string]any{
				"kind": "panic", "message": fmt.Sprintf("%v\n%s", thrown, debug.Stack()),
			}})
		}
	}()
	// Not one that ends with the call: client-go rolls locks back behind it on the same context.
	ctx := context.Background()
	perform, known := remoteOps[call.Op]
	if !known {
		panic("unknown call " + call.Op)
	}
	result, err := perform(s, ctx, call)
	if err != nil {
		say(map[string]any{"id": call.ID, "error": describe(err)})
	} else {
		say(map[string]any{"id": call.ID, "result": result})
	}
}

func (s *server) open(name string) *openTxn {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	txn := s.txns[name]
	if txn == nil {
		panic("unknown transaction " + name)
	}
	return txn
}

func (s *server) keep(name string, txn *openTxn) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.txns[name] = txn
}
