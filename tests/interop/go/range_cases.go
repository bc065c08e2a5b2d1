// SPDX-License-Identifier: Apache-2.0

package main

import (
	"hash/crc64"
	"slices"

	"github.com/tikv/client-go/v2/rawkv"
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// Calls over a range of keys, each over several regions.
func rangeCases() []testCase {
	return []testCase{
		{"[RAW-012] Scan() is ordered, half-open, limited, and crosses regions", everyAPI, func(t *trial) {
			client, keys := t.filled(40)
			for _, c := range []struct{ from, to, limit, want int }{
				{0, 40, 100, 40}, {5, 25, 100, 20}, {5, 25, 7, 7}, {7, 8, 10, 1}, {9, 9, 10, 0}, {25, 5, 10, 0}, {0, 40, 0, 0},
			} {
				got, values, err := client.Scan(t.ctx, keys[c.from], t.bound(keys, c.to), c.limit)
				t.must("Scan", err)
				t.equal("Scan: keys", got, orNone(keys, c.from, c.from+c.want))
				t.equal("Scan: values", values, orNone(keys, c.from, c.from+c.want))
			}
			_, _, err := client.Scan(t.ctx, keys[0], nil, rawkv.MaxRawKVScanLimit+1)
			t.refused("Scan beyond the greatest limit", err)
		}},
		{"[RAW-011] [RAW-012] Scan() and DeleteRange() without an end go to the last key and stay in the keyspace", everyAPI, func(t *trial) {
			t.prefix = "\xff\xff\xff/" // behind all other cases
			client, keys := t.filled(12)
			got, _, err := client.Scan(t.ctx, keys[3], nil, 100)
			t.must("Scan", err)
			t.equal("Scan", got, keys[3:])
			// From within the last region: before it, client-go sends an end that TiKV refuses.
			t.must("DeleteRange", client.DeleteRange(t.ctx, keys[10], nil))
			got, _, err = client.Scan(t.ctx, t.key(""), nil, 100)
			t.must("Scan", err)
			t.equal("Scan after DeleteRange without an end", got, keys[:10])
		}},
		{"[RAW-013] ReverseScan() goes down from the upper bound, over regions", everyAPI, func(t *trial) {
			client, keys := t.filled(40)
			for _, c := range []struct{ upper, lower, limit, want int }{
				{40, 0, 100, 40}, {25, 5, 100, 20}, {25, 5, 3, 3}, {8, 7, 10, 1}, {9, 9, 10, 0}, {5, 25, 10, 0},
			} {
				got, values, err := client.ReverseScan(t.ctx, t.bound(keys, c.upper), keys[c.lower], c.limit)
				t.must("ReverseScan", err)
				want := slices.Clone(orNone(keys, c.upper-c.want, c.upper))
				slices.Reverse(want)
				t.equal("ReverseScan: keys", got, want)
				t.equal("ReverseScan: values", values, want)
			}
		}},
		{"[RAW-014] ScanKeyOnly() leaves the values out, in both directions", everyAPI, func(t *trial) {
			client, keys := t.filled(20)
			got, values, err := client.Scan(t.ctx, keys[0], t.end(), 100, rawkv.ScanKeyOnly())
			t.must("Scan", err)
			t.equal("Scan: keys", got, keys)
			t.equal("Scan: values", values, repeated([]byte{}, 20))
			down, values, err := client.ReverseScan(t.ctx, t.end(), keys[0], 100, rawkv.ScanKeyOnly())
			t.must("ReverseScan", err)
			slices.Reverse(down)
			t.equal("ReverseScan: keys", down, keys)
			t.equal("ReverseScan: values", values, repeated([]byte{}, 20))
		}},
		{"[RAW-011] DeleteRange() removes the range over regions and nothing else", everyAPI, func(t *trial) {
			client, keys := t.filled(40)
			t.must("DeleteRange", client.DeleteRange(t.ctx, keys[7], keys[33]))
			left, _, err := client.Scan(t.ctx, t.key(""), t.end(), 100)
			t.must("Scan", err)
			t.equal("Scan", left, append(slices.Clone(keys[:7]), keys[33:]...))
			t.must("DeleteRange of nothing", client.DeleteRange(t.ctx, keys[0], keys[0]))
			left, _, err = client.Scan(t.ctx, t.key(""), t.end(), 100)
			t.must("Scan", err)
			t.equal("Scan: count", len(left), 14)
		}},
		{"[RAW-015] Checksum() is the xor of CRC-64 of key and value, and counts", everyAPI, func(t *trial) {
			client, keys := t.filled(40)
			sum, err := client.Checksum(t.ctx, keys[3], keys[37])
			t.must("Checksum", err)
			t.equal("Checksum", sum, t.checksum(keys[3:37], keys[3:37]))
			sum, err = client.Checksum(t.ctx, keys[9], keys[9])
			t.must("Checksum of nothing", err)
			t.equal("Checksum of nothing", sum, rawkv.RawChecksum{})
		}},
		{"[RAW-018] SetColumnFamily() separates families, for the client and per call", []string{"v1", "v1ttl"}, func(t *trial) {
			write := t.connect().SetColumnFamily("write")
			client := t.connect()
			inLock := rawkv.SetColumnFamily("lock")
			t.must("Put in write", write.Put(t.ctx, t.key("k"), []byte("w")))
			t.must("Put in lock", client.Put(t.ctx, t.key("k"), []byte("l"), inLock))
			t.must("Put in default", client.Put(t.ctx, t.key("k"), []byte("d"), rawkv.SetColumnFamily("default")))
			for name, c := range map[string]struct {
				client *rawkv.Client
				option []rawkv.RawOption
				want   string
			}{
				"of the client": {write, nil, "w"}, "of the call": {client, []rawkv.RawOption{inLock}, "l"},
				"of the call before the client's": {write, []rawkv.RawOption{inLock}, "l"}, "none": {client, nil, "d"},
			} {
				value, err := c.client.Get(t.ctx, t.key("k"), c.option...)
				t.must("Get, family "+name, err)
				t.equal("Get, family "+name, value, []byte(c.want))
				_, values, err := c.client.Scan(t.ctx, t.key(""), t.end(), 10, c.option...)
				t.must("Scan, family "+name, err)
				t.equal("Scan, family "+name, values, [][]byte{[]byte(c.want)})
				values, err = c.client.BatchGet(t.ctx, [][]byte{t.key("k")}, c.option...)
				t.must("BatchGet, family "+name, err)
				t.equal("BatchGet, family "+name, values, [][]byte{[]byte(c.want)})
			}
			t.must("Delete in lock", client.Delete(t.ctx, t.key("k"), inLock))
			t.must("DeleteRange in write", write.DeleteRange(t.ctx, t.key(""), t.end()))
			value, err := client.Get(t.ctx, t.key("k"))
			t.must("Get", err)
			t.equal("Get after deletes in other families", value, []byte("d"))
			_, err = client.Get(t.ctx, t.key("k"), rawkv.SetColumnFamily("no-such-family"))
			t.refused("Get in an unknown family", err)
		}},
		{"[RAW-018] API V2 has no column families: naming one is refused", []string{"v2"}, func(t *trial) {
			client := t.connect()
			t.refused("Put in write", client.Put(t.ctx, t.key("k"), []byte("v"), rawkv.SetColumnFamily("write")))
			_, err := client.Get(t.ctx, t.key("k"), rawkv.SetColumnFamily("write"))
			t.refused("Get in write", err)
		}},
	}
}

// filled writes count keys, each its own value, over four regions.
func (t *trial) filled(count int) (*rawkv.Client, [][]byte) {
	client, keys := t.connect(), t.keys(count)
	t.must("BatchPut", client.BatchPut(t.ctx, keys, keys))
	t.must("split", t.askSplit(keys[count/4], keys[count/2], append(slices.Clone(keys[count*3/4]), 0)))
	return client, keys
}

// bound returns the key at the index, or the end of the trial's keys.
func (t *trial) bound(keys [][]byte, index int) []byte {
	if index < len(keys) {
		return keys[index]
	}
	return t.end()
}

func orNone(keys [][]byte, from, to int) [][]byte {
	if from >= to {
		return nil
	}
	return keys[from:to]
}

func repeated(value []byte, count int) [][]byte {
	all := make([][]byte, count)
	for i := range all {
		all[i] = value
	}
	return all
}

// The keys are counted as they are stored: in API V2 with the four bytes of mode and keyspace.
func (t *trial) checksum(keys, values [][]byte) rawkv.RawChecksum {
	var sum rawkv.RawChecksum
	for i, key := range keys {
		stored := append(t.storedPrefix(), key...)
		sum.Crc64Xor ^= crc64.Update(crc64.Checksum(stored, crcTable), crcTable, values[i])
		sum.TotalKvs++
		sum.TotalBytes += uint64(len(stored) + len(values[i]))
	}
	return sum
}

func (t *trial) storedPrefix() []byte {
	if !t.isV2() {
		return nil
	}
	name := t.keyspace
	if name == "" {
		name = "DEFAULT"
	}
	meta, err := t.connectPD().LoadKeyspace(t.ctx, name)
	t.must("LoadKeyspace", err)
	return []byte{'r', byte(meta.Id >> 16), byte(meta.Id >> 8), byte(meta.Id)}
}
