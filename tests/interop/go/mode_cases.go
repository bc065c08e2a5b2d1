// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/tikv/client-go/v2/rawkv"
)

// API versions and keyspaces.
func modeCases() []testCase {
	return []testCase{
		{"[RAW-022] a client of another API version is refused", everyAPI, func(t *trial) {
			other := kvrpcpb.APIVersion_V2
			if t.isV2() {
				other = kvrpcpb.APIVersion_V1
			}
			// Without an answer client-go would retry for 20 s; a refusal is immediate.
			ctx, cancel := context.WithTimeout(t.ctx, 10*time.Second)
			defer cancel()
			client, err := rawkv.NewClientWithOpts(ctx, t.members(), rawkv.WithAPIVersion(other), rawkv.WithSecurity(t.security()))
			if err == nil {
				defer client.Close()
				err = client.Put(ctx, t.key("k"), []byte("v"))
			}
			t.refused("Put with the other API version", err)
			value, err := t.connect().Get(t.ctx, t.key("k"))
			t.must("Get", err)
			t.equal("Get", value, []byte(nil))
		}},
		{"[RAW-023] two keyspaces do not see each other, over splits", []string{"v2"}, func(t *trial) {
			client := t.connect()
			other := t.connect(rawkv.WithKeyspace(""))
			t.isTrue("the run needs a keyspace of its own", t.keyspace != "" && t.keyspace != "DEFAULT", t.keyspace)
			keys := t.keys(10)
			t.must("BatchPut", client.BatchPut(t.ctx, keys, keys))
			t.must("Put in DEFAULT", other.Put(t.ctx, keys[4], []byte("other")))
			t.must("split", t.askSplit(keys[3], keys[6]))
			value, err := client.Get(t.ctx, keys[4])
			t.must("Get", err)
			t.equal("Get", value, keys[4])
			got, _, err := other.Scan(t.ctx, t.key(""), t.end(), 100)
			t.must("Scan in DEFAULT", err)
			t.equal("Scan in DEFAULT", got, [][]byte{keys[4]})
			t.must("DeleteRange in DEFAULT", other.DeleteRange(t.ctx, t.key(""), nil))
			got, _, err = client.Scan(t.ctx, t.key(""), t.end(), 100)
			t.must("Scan", err)
			t.equal("Scan", got, keys)
		}},
		{"[RAW-023] [KS-013] an unknown keyspace is refused", []string{"v2"}, func(t *trial) {
			_, err := rawkv.NewClientWithOpts(t.ctx, t.members(), rawkv.WithAPIVersion(kvrpcpb.APIVersion_V2), rawkv.WithKeyspace("no-such-keyspace"))
			t.refused("NewClientWithOpts", err)
		}},
	}
}
