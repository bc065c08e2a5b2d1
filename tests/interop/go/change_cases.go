// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tikv/client-go/v2/rawkv"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/opt"
)

// The cluster changes while a client that has it all cached goes on.
func changeCases() []testCase {
	return []testCase{
		{"[RAW-024] cached regions are split, and every key is still found", everyAPI, func(t *trial) {
			client, keys := t.cached(30)
			t.must("split", t.askSplit(keys[5], keys[10], keys[20]))
			t.content(client, keys)
			t.must("Put behind a split", client.Put(t.ctx, keys[21], []byte("new")))
			value, err := client.Get(t.ctx, keys[21])
			t.must("Get", err)
			t.equal("Get", value, []byte("new"))
		}},
		{"[RAW-024] leaders move, and every key is still found", everyAPI, func(t *trial) {
			client, keys := t.cached(10)
			for range 4 {
				t.must("move the leader", t.askMoveLeader(keys[0]))
				t.content(client, keys)
			}
		}},
		{"[RAW-024] regions are merged, and every key is still found", everyAPI, func(t *trial) {
			client, keys := t.cached(20)
			t.must("split", t.askSplit(keys[10]))
			t.content(client, keys)
			t.must("merge", t.askMerge(keys[10]))
			t.content(client, keys)
		}},
		{"[RAW-024] every store gets another address, and every key is still found", everyAPI, func(t *trial) {
			client, keys := t.cached(10)
			for _, store := range t.storeIDs() {
				t.must("readdress", t.askReaddress(store))
				t.content(client, keys)
			}
		}},
		{"[RAW-024] a store stops and starts again: its leaders are found elsewhere meanwhile", everyAPI, func(t *trial) {
			client, keys := t.cached(10)
			for _, store := range t.storeIDs() {
				t.must("stop", t.askStop(store))
				t.content(client, keys)
				t.must("start", t.askStart(store))
				t.content(client, keys)
			}
		}},
		{"[PD-008] the leader of PD moves, and timestamps go on growing", everyAPI, func(t *trial) {
			client := t.connectPD()
			before, err := timestamp(t.ctx, client)
			t.must("GetTS", err)
			t.must("move the leader of PD", t.askMovePdLeader())
			// The stream to the old leader ends; who waited on it is told so and asks again.
			t.until("a timestamp of the new leader", 20*time.Second, func() bool {
				after, err := timestamp(t.ctx, client)
				t.isTrue(fmt.Sprintf("GetTS after the move, expected more than %d", before), err != nil || after > before, after)
				return err == nil
			})
			t.timestamps(client)
		}},
		{"[RAW-024] readers and writers under splits, merges and leader moves see their own writes", everyAPI, func(t *trial) {
			t.underChanges(24, []func(key []byte, step int) error{
				func(key []byte, _ int) error { return t.askSplit(key) },
				func(key []byte, _ int) error { return t.askMoveLeader(key) },
				func(key []byte, step int) error {
					if step%3 == 0 {
						return t.askMerge(key)
					}
					return t.askSplit(append(key, byte(step)))
				},
			})
		}},
		{"[RAW-024] readers and writers while stores change their addresses see their own writes", everyAPI, func(t *trial) {
			stores := t.storeIDs()
			t.underChanges(8, []func(key []byte, step int) error{
				func(_ []byte, step int) error { return t.askReaddress(stores[step%len(stores)]) },
				func(key []byte, _ int) error { return t.askMoveLeader(key) },
			})
		}},
	}
}

func timestamp(ctx context.Context, client pd.Client) (uint64, error) {
	return steady(ctx, client.GetTS)
}

// steady asks again when client-go has ended its own stream under the question, as it does when it
// looks for the leader of PD anew: the question then fails with "context canceled", although the
// caller's context lives. It is a finding about client-go (README.md), not about the cluster.
func steady(ctx context.Context, get func(context.Context) (int64, int64, error)) (uint64, error) {
	const tries = 5
	for try := 1; ; try++ {
		physical, logical, err := get(ctx)
		if err == nil || !strings.Contains(err.Error(), "context canceled") || ctx.Err() != nil || try == tries {
			return compose(physical, logical), err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// cached writes count keys and reads them, so that the region of each is in the client's cache.
func (t *trial) cached(count int) (*rawkv.Client, [][]byte) {
	client, keys := t.connect(), t.keys(count)
	t.must("BatchPut", client.BatchPut(t.ctx, keys, keys))
	t.content(client, keys)
	return client, keys
}

// content reads everything in three ways; each key holds itself.
func (t *trial) content(client *rawkv.Client, keys [][]byte) {
	values, err := client.BatchGet(t.ctx, keys)
	t.must("BatchGet", err)
	t.equal("BatchGet", values, keys)
	got, _, err := client.Scan(t.ctx, t.key(""), t.end(), len(keys)+1)
	t.must("Scan", err)
	t.equal("Scan", got, keys)
	for _, key := range keys {
		value, err := client.Get(t.ctx, key)
		t.must("Get", err)
		t.equal("Get", value, key)
	}
}

func (t *trial) storeIDs() []uint64 {
	stores, err := t.connectPD().GetAllStores(t.ctx, opt.WithExcludeTombstone())
	t.must("GetAllStores", err)
	var ids []uint64
	for _, store := range stores {
		ids = append(ids, store.GetId())
	}
	return ids
}

// underChanges has eight callers write and read while the cluster is changed. Each caller
// owns its keys, so that whatever it reads must be what it wrote last.
func (t *trial) underChanges(steps int, changes []func(key []byte, step int) error) {
	const callers = 8
	client := t.connect()
	var stop atomic.Bool
	var calls atomic.Int64
	var wait sync.WaitGroup
	errs := make(chan error, callers)
	last := make([]map[string][]byte, callers)
	for caller := range callers {
		last[caller] = map[string][]byte{}
		wait.Add(1)
		go func() {
			defer wait.Done()
			errs <- func() error {
				for turn := 0; !stop.Load(); turn++ {
					key := t.key(fmt.Sprintf("%04d/%d", turn%50, caller))
					value := []byte(fmt.Sprintf("%d", turn))
					if err := client.Put(t.ctx, key, value); err != nil {
						return fmt.Errorf("Put %s: %w", key, err)
					}
					last[caller][string(key)] = value
					got, err := client.Get(t.ctx, key)
					if err != nil {
						return fmt.Errorf("Get %s: %w", key, err)
					}
					if !same(got, value) {
						return fmt.Errorf("Get %s: answered %s, expected %s", key, show(got), show(value))
					}
					calls.Add(2)
				}
				return nil
			}()
		}()
	}
	var changed error
	for step := 0; step < steps && changed == nil; step++ {
		// Some calls between two changes, so that each change meets a warm cache.
		for seen := calls.Load(); calls.Load() < seen+20 && len(errs) == 0; {
			time.Sleep(time.Millisecond)
		}
		changed = changes[step%len(changes)](t.key(fmt.Sprintf("%04d", (step*7)%50)), step)
	}
	stop.Store(true)
	wait.Wait()
	for range callers {
		t.must("a caller", <-errs)
	}
	if errors.Is(changed, errUnsupported) {
		panic(stopTrial{skip: changed.Error()})
	}
	t.must("change", changed)
	t.finalContent(client, last)
}

func (t *trial) finalContent(client *rawkv.Client, last []map[string][]byte) {
	want := map[string][]byte{}
	for _, own := range last {
		for key, value := range own {
			want[key] = value
		}
	}
	keys, values, err := client.Scan(t.ctx, t.key(""), t.end(), 10_000)
	t.must("Scan", err)
	t.equal("Scan: count", len(keys), len(want))
	for i, key := range keys {
		t.equal("Scan "+string(key), values[i], want[string(key)])
	}
}
