// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/tikv/pd/client/opt"
)

var (
	outMutex sync.Mutex
	out      = json.NewEncoder(os.Stdout)
	control  sync.Mutex
	answers  = bufio.NewScanner(os.Stdin)
)

func say(line any) {
	outMutex.Lock()
	defer outMutex.Unlock()
	if err := out.Encode(line); err != nil {
		os.Exit(3) // whoever listened is gone
	}
}

type answer struct {
	OK          bool   `json:"ok"`
	Unsupported bool   `json:"unsupported"`
	Error       string `json:"error"`
}

// errUnsupported: whoever runs the cluster cannot do this to it, so the case is skipped.
var errUnsupported = errors.New("not supported by this cluster")

// ask has the cluster changed and waits until that is done.
func (t *trial) ask(what string, arguments map[string]any) error {
	if t.settings.control == "pd" {
		return fmt.Errorf("%s: %w", what, errUnsupported)
	}
	control.Lock()
	defer control.Unlock()
	request := map[string]any{"do": what}
	for name, value := range arguments {
		request[name] = value
	}
	say(request)
	if !answers.Scan() {
		return fmt.Errorf("cannot %s: the driver closed the standard input", what)
	}
	var reply answer
	if err := json.Unmarshal(answers.Bytes(), &reply); err != nil {
		return err
	}
	if reply.Unsupported {
		return fmt.Errorf("%s: %w", what, errUnsupported)
	}
	if !reply.OK {
		return fmt.Errorf("cannot %s: %s", what, reply.Error)
	}
	return nil
}

// The keys are the caller's own: without the prefix of the keyspace.

func (t *trial) askSplit(keys ...[]byte) error {
	if t.settings.control == "pd" {
		return t.splitByPD(keys)
	}
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = hex.EncodeToString(key)
	}
	return t.ask("split", map[string]any{"keys": texts})
}

// PD waits for seconds where a region begins at the key already, and then fails.
func (t *trial) splitByPD(keys [][]byte) error {
	client := t.connect().GetPDClient()
	var missing [][]byte
	for _, key := range keys {
		region, err := client.GetRegion(t.ctx, key)
		if err != nil {
			return err
		}
		if !bytes.Equal(region.Meta.GetStartKey(), key) {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	reply, err := client.SplitRegions(t.ctx, missing, opt.WithRetry(10))
	if err != nil || reply.GetFinishedPercentage() == 100 {
		return err
	}
	return fmt.Errorf("cannot split: PD finished %d %%", reply.GetFinishedPercentage())
}

func (t *trial) askMoveLeader(key []byte) error {
	return t.ask("moveLeader", map[string]any{"key": hex.EncodeToString(key)})
}

func (t *trial) askMerge(key []byte) error {
	return t.ask("merge", map[string]any{"key": hex.EncodeToString(key)})
}

// Gives a store another address, as when a pod is replaced.
func (t *trial) askReaddress(storeID uint64) error {
	return t.ask("readdress", map[string]any{"store": storeID})
}

func (t *trial) askStop(storeID uint64) error {
	return t.ask("stopStore", map[string]any{"store": storeID})
}

func (t *trial) askStart(storeID uint64) error {
	return t.ask("startStore", map[string]any{"store": storeID})
}

func (t *trial) askMovePdLeader() error { return t.ask("movePdLeader", nil) }
