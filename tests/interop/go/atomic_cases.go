// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"sync"
)

// Compare-and-swap and the writes that go with it.
func atomicCases() []testCase {
	return []testCase{
		{"[RAW-016] CompareAndSwap() swaps on equality only and answers what was there", everyAPI, func(t *trial) {
			client := t.connect().SetAtomicForCAS(true)
			for i, c := range []struct {
				expect, value, previous, after []byte
				swapped                        bool
			}{
				{[]byte("x"), []byte("1"), nil, nil, false},
				{nil, []byte("1"), nil, []byte("1"), true},
				{nil, []byte("2"), []byte("1"), []byte("1"), false},
				{[]byte("2"), []byte("3"), []byte("1"), []byte("1"), false},
				{[]byte("1"), []byte{}, []byte("1"), []byte{}, true},
				{nil, []byte("4"), []byte{}, []byte{}, false},
				{[]byte{}, []byte("5"), []byte{}, []byte("5"), true},
			} {
				call := "CompareAndSwap, step " + strconv.Itoa(i)
				previous, swapped, err := client.CompareAndSwap(t.ctx, t.key("k"), c.expect, c.value)
				t.must(call, err)
				t.equal(call+": previous", previous, c.previous)
				t.equal(call+": swapped", swapped, c.swapped)
				after, err := client.Get(t.ctx, t.key("k"))
				t.must("Get", err)
				t.equal(call+": Get after it", after, c.after)
			}
		}},
		{"[RAW-017] in atomic mode every write works, outside it the swap is refused", everyAPI, func(t *trial) {
			client := t.connect()
			_, _, err := client.CompareAndSwap(t.ctx, t.key("a"), nil, []byte("1"))
			t.refused("CompareAndSwap outside atomic mode", err)
			client.SetAtomicForCAS(true)
			keys := t.keys(20)
			t.must("split", t.askSplit(keys[10]))
			t.must("Put", client.Put(t.ctx, keys[0], []byte("1")))
			t.must("BatchPut", client.BatchPut(t.ctx, keys[1:], keys[1:]))
			t.must("Delete", client.Delete(t.ctx, keys[2]))
			t.must("BatchDelete", client.BatchDelete(t.ctx, keys[3:18]))
			left, _, err := client.Scan(t.ctx, t.key(""), t.end(), 100)
			t.must("Scan", err)
			t.equal("Scan", left, [][]byte{keys[0], keys[1], keys[18], keys[19]})
		}},
		{"[RAW-016] concurrent swaps on one key lose no step", everyAPI, func(t *trial) {
			const callers, steps = 8, 25
			client := t.connect().SetAtomicForCAS(true)
			var wait sync.WaitGroup
			errs := make(chan error, callers)
			for range callers {
				wait.Add(1)
				go func() {
					defer wait.Done()
					errs <- func() error {
						var expect []byte
						for done := 0; done < steps; {
							number, _ := strconv.Atoi(string(expect))
							next := []byte(strconv.Itoa(number + 1))
							previous, swapped, err := client.CompareAndSwap(t.ctx, t.key("counter"), expect, next)
							if err != nil {
								return err
							}
							if expect = previous; swapped {
								expect = next
								done++
							}
						}
						return nil
					}()
				}()
			}
			wait.Wait()
			for range callers {
				t.must("CompareAndSwap", <-errs)
			}
			value, err := client.Get(t.ctx, t.key("counter"))
			t.must("Get", err)
			t.equal("Get", value, []byte(strconv.Itoa(callers*steps)))
		}},
	}
}
