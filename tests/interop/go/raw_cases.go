// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tikv/client-go/v2/rawkv"
)

// One key or a list of keys at a time.
func rawCases() []testCase {
	return []testCase{
		{"[RAW-001] [RAW-003] NewClientWithOpts() connects and knows the cluster's id", everyAPI, func(t *trial) {
			client := t.connect()
			members, err := client.GetPDClient().GetAllMembers(t.ctx)
			t.must("GetAllMembers", err)
			t.equal("ClusterID", client.ClusterID(), members.GetHeader().GetClusterId())
			t.equal("GetPDClient().GetClusterID", client.GetPDClient().GetClusterID(t.ctx), client.ClusterID())
		}},
		{"[RAW-002] Close() twice is harmless, and a second client works after it", everyAPI, func(t *trial) {
			client := t.connect()
			t.must("Put", client.Put(t.ctx, t.key("k"), []byte("v")))
			t.must("Close", client.Close())
			value, err := t.connect().Get(t.ctx, t.key("k"))
			t.must("Get", err)
			t.equal("Get", value, []byte("v"))
		}},
		{"[RAW-004] Get() tells a missing value from an empty one", everyAPI, func(t *trial) {
			client := t.connect()
			t.must("Put", client.Put(t.ctx, t.key("empty"), []byte{}))
			for name, want := range map[string][]byte{"missing": nil, "empty": {}} {
				value, err := client.Get(t.ctx, t.key(name))
				t.must("Get "+name, err)
				t.equal("Get "+name, value, want)
			}
		}},
		{"[RAW-006] Put() keeps every byte of key and value, and overwrites", everyAPI, func(t *trial) {
			client := t.connect()
			every := make([]byte, 256)
			for i := range every {
				every[i] = byte(i)
			}
			key := append(t.key(""), every...)
			for _, value := range [][]byte{every, bytes.Repeat([]byte{0}, 9), bytes.Repeat([]byte("x"), 1<<20), []byte("last")} {
				t.must("Put", client.Put(t.ctx, key, value))
				got, err := client.Get(t.ctx, key)
				t.must("Get", err)
				t.equal("Get", got, value)
			}
		}},
		{"[RAW-005] BatchGet() answers by position, with duplicates and missing keys", everyAPI, func(t *trial) {
			client := t.connect()
			t.must("Put a", client.Put(t.ctx, t.key("a"), []byte("1")))
			t.must("Put b", client.Put(t.ctx, t.key("b"), []byte{}))
			values, err := client.BatchGet(t.ctx, [][]byte{t.key("b"), t.key("none"), t.key("a"), t.key("a")})
			t.must("BatchGet", err)
			t.equal("BatchGet", values, [][]byte{{}, nil, []byte("1"), []byte("1")})
			values, err = client.BatchGet(t.ctx, nil)
			t.must("BatchGet of nothing", err)
			t.equal("BatchGet of nothing", len(values), 0)
		}},
		{"[RAW-008] BatchPut() writes all, the last of a duplicate wins", everyAPI, func(t *trial) {
			client := t.connect()
			keys := [][]byte{t.key("a"), t.key("b"), t.key("a")}
			t.must("BatchPut", client.BatchPut(t.ctx, keys, [][]byte{[]byte("1"), []byte("2"), []byte("3")}))
			values, err := client.BatchGet(t.ctx, keys)
			t.must("BatchGet", err)
			t.equal("BatchGet", values, [][]byte{[]byte("3"), []byte("2"), []byte("3")})
			t.refused("BatchPut with too few values", client.BatchPut(t.ctx, keys, [][]byte{[]byte("1")}))
			t.must("BatchPut of nothing", client.BatchPut(t.ctx, nil, nil))
		}},
		{"[RAW-009] Delete() removes, and removes again without complaint", everyAPI, func(t *trial) {
			client := t.connect()
			t.must("Put", client.Put(t.ctx, t.key("k"), []byte("v")))
			for range 2 {
				t.must("Delete", client.Delete(t.ctx, t.key("k")))
				value, err := client.Get(t.ctx, t.key("k"))
				t.must("Get", err)
				t.equal("Get", value, []byte(nil))
			}
		}},
		{"[RAW-010] BatchDelete() removes what is there of the list and nothing else", everyAPI, func(t *trial) {
			client := t.connect()
			keys := t.keys(6)
			t.must("BatchPut", client.BatchPut(t.ctx, keys, keys))
			t.must("BatchDelete", client.BatchDelete(t.ctx, [][]byte{keys[1], t.key("none"), keys[4], keys[1]}))
			left, _, err := client.Scan(t.ctx, t.key(""), t.end(), 100)
			t.must("Scan", err)
			t.equal("Scan", left, [][]byte{keys[0], keys[2], keys[3], keys[5]})
		}},
		{"[RAW-020] [RAW-021] batches beyond 512 keys and 16 KiB arrive whole, over regions", everyAPI, func(t *trial) {
			client := t.connect()
			keys := t.keys(1500)
			t.must("split", t.askSplit(keys[200], keys[700], keys[1400]))
			values := make([][]byte, len(keys))
			for i := range values {
				values[i] = bytes.Repeat([]byte{byte(i)}, i%400)
			}
			t.must("BatchPut", client.BatchPut(t.ctx, keys, values))
			got, err := client.BatchGet(t.ctx, keys)
			t.must("BatchGet", err)
			t.equal("BatchGet", got, values)
			t.must("BatchDelete", client.BatchDelete(t.ctx, keys[1:]))
			left, _, err := client.Scan(t.ctx, t.key(""), t.end(), 100)
			t.must("Scan", err)
			t.equal("Scan", left, keys[:1])
		}},
		{"[RAW-006] Put() of an entry larger than the store takes is refused", everyAPI, func(t *trial) {
			client := t.connect()
			err := client.Put(t.ctx, t.key("huge"), make([]byte, 9<<20))
			t.refused("Put of 9 MiB", err)
			t.must("Put after it", client.Put(t.ctx, t.key("k"), []byte("v")))
		}},
		{"[RAW-007] [RAW-019] GetKeyTTL() tells missing, endless and limited apart", withTTL, func(t *trial) {
			client := t.connect()
			t.must("Put", client.Put(t.ctx, t.key("endless"), []byte("v")))
			t.must("PutWithTTL", client.PutWithTTL(t.ctx, t.key("limited"), []byte("v"), 100))
			t.ttlIs(client, "missing", nil)
			t.ttlIs(client, "endless", []uint64{0, 0})
			t.ttlIs(client, "limited", []uint64{90, 100})
			t.must("Put again", client.Put(t.ctx, t.key("limited"), []byte("v")))
			t.ttlIs(client, "limited", []uint64{0, 0})
		}},
		{"[RAW-008] [RAW-019] BatchPutWithTTL() gives each key its own", withTTL, func(t *trial) {
			client := t.connect()
			keys := [][]byte{t.key("a"), t.key("b"), t.key("c")}
			t.must("BatchPutWithTTL", client.BatchPutWithTTL(t.ctx, keys, keys, []uint64{50, 0, 500}))
			t.ttlIs(client, "a", []uint64{40, 50})
			t.ttlIs(client, "b", []uint64{0, 0})
			t.ttlIs(client, "c", []uint64{490, 500})
			t.refused("BatchPutWithTTL with too few", client.BatchPutWithTTL(t.ctx, keys, keys, []uint64{1}))
		}},
		{"[RAW-019] an entry is gone from every read when its time is up", withTTL, func(t *trial) {
			client := t.connect()
			t.must("PutWithTTL", client.PutWithTTL(t.ctx, t.key("k"), []byte("v"), 1))
			t.must("Put", client.Put(t.ctx, t.key("stays"), []byte("v")))
			t.until("the end of a TTL of 1 s", 10*time.Second, func() bool {
				value, err := client.Get(t.ctx, t.key("k"))
				t.must("Get", err)
				return value == nil
			})
			values, err := client.BatchGet(t.ctx, [][]byte{t.key("k"), t.key("stays")})
			t.must("BatchGet", err)
			t.equal("BatchGet", values, [][]byte{nil, []byte("v")})
			keys, _, err := client.Scan(t.ctx, t.key(""), t.end(), 10)
			t.must("Scan", err)
			t.equal("Scan", keys, [][]byte{t.key("stays")})
			sum, err := client.Checksum(t.ctx, t.key(""), t.end())
			t.must("Checksum", err)
			t.equal("Checksum: keys", sum.TotalKvs, uint64(1))
			t.ttlIs(client, "k", nil)
		}},
		{"[RAW-007] [RAW-019] without TTL on the stores both the write and the question are refused", []string{"v1"}, func(t *trial) {
			client := t.connect()
			t.refused("PutWithTTL", client.PutWithTTL(t.ctx, t.key("k"), []byte("v"), 10))
			_, err := client.GetKeyTTL(t.ctx, t.key("k"))
			t.refused("GetKeyTTL", err)
			value, err := client.Get(t.ctx, t.key("k"))
			t.must("Get", err)
			t.equal("Get", value, []byte(nil))
		}},
	}
}

// ttlIs checks the remaining seconds: nil for a missing key, else lowest and highest.
func (t *trial) ttlIs(client *rawkv.Client, name string, want []uint64) {
	call := fmt.Sprintf("GetKeyTTL %s", name)
	ttl, err := client.GetKeyTTL(t.ctx, t.key(name))
	t.must(call, err)
	switch {
	case ttl == nil:
		t.isTrue(call, want == nil, "nothing")
	case want == nil:
		t.isTrue(call, false, *ttl)
	default:
		t.isTrue(fmt.Sprintf("%s, expected %d to %d", call, want[0], want[1]), *ttl >= want[0] && *ttl <= want[1], *ttl)
	}
}
