// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"runtime"

	"github.com/pingcap/log"
	"github.com/tikv/client-go/v2/txnkv"
	"go.uber.org/zap"
)

const (
	bufferPrefix     = "t00000042_r"
	bufferKeyBytes   = len(bufferPrefix) + 8
	bufferValueBytes = 8
)

// bufferResult has the same fields as the lines of txn_buffer_bench.ts.
type bufferResult struct {
	Runtime              string `json:"runtime"`
	Order                string `json:"order"`
	Keys                 int    `json:"keys"`
	InsertsPerSecond     int    `json:"insertsPerSecond"`
	GetsPerSecond        int    `json:"getsPerSecond"`
	WalkedPerSecond      int    `json:"walkedPerSecond"`
	OverheadBytesPerKey  int    `json:"overheadBytesPerKey"`
	EstimatedBytesPerKey int    `json:"estimatedBytesPerKey"`
}

// The write buffer of client-go under the load of txn_buffer_bench.ts.
func buffer(arguments []string) {
	flags := flag.NewFlagSet("buffer", flag.ExitOnError)
	pd := flags.String("pd", "127.0.0.1:2379", "PD address")
	count := flags.Int("keys", 1_000_000, "how many keys")
	rounds := flags.Int("rounds", 3, "how often; the best counts")
	check(flags.Parse(arguments))
	log.ReplaceGlobals(zap.NewNop(), &log.ZapProperties{})

	client, err := txnkv.NewClient([]string{*pd})
	check(err)
	defer client.Close()
	for _, order := range []string{"random", "ascending", "descending"} {
		keys := bufferKeys(order, *count)
		best := bufferResult{}
		for range *rounds {
			if result := measureBuffer(client, keys); result.InsertsPerSecond > best.InsertsPerSecond {
				best = result
			}
		}
		best.Runtime, best.Order, best.Keys = "client-go", order, *count
		check(json.NewEncoder(os.Stdout).Encode(best))
	}
}

func bufferKeys(order string, count int) []byte {
	numbers := make([]int, count)
	for i := range numbers {
		numbers[i] = i
		if order == "descending" {
			numbers[i] = count - i
		}
	}
	if order == "random" {
		rand.New(rand.NewPCG(1, 1)).Shuffle(count, func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
	}
	block := make([]byte, 0, count*bufferKeyBytes)
	for _, number := range numbers {
		block = append(block, bufferPrefix...)
		block = binary.BigEndian.AppendUint64(block, uint64(number)*1_000_003)
	}
	return block
}

func measureBuffer(client *txnkv.Client, keys []byte) bufferResult {
	count := len(keys) / bufferKeyBytes
	keyAt := func(i int) []byte { return keys[i*bufferKeyBytes : (i+1)*bufferKeyBytes] }
	value := bytes.Repeat([]byte{7}, bufferValueBytes)
	before := usedBytes()
	txn, err := client.Begin()
	check(err)
	buffer := txn.GetMemBuffer()
	inserts := bufferRate(count, func() {
		for i := range count {
			check(buffer.Set(keyAt(i), value))
		}
	})
	used := usedBytes() - before
	gets := bufferRate(count, func() {
		for i := range count {
			_, err := buffer.Get(nil, keyAt(i))
			check(err)
		}
	})
	walked := bufferRate(count, func() {
		found, err := buffer.Iter(nil, nil)
		check(err)
		for found.Valid() {
			_ = found.Key()
			check(found.Next())
		}
	})
	own := bufferKeyBytes + bufferValueBytes
	result := bufferResult{
		InsertsPerSecond: inserts, GetsPerSecond: gets, WalkedPerSecond: walked,
		OverheadBytesPerKey:  int(used)/count - own,
		EstimatedBytesPerKey: int(txn.Mem())/count - own,
	}
	check(txn.Rollback())
	return result
}

func bufferRate(count int, work func()) int {
	start := cpuTime()
	work()
	return int(float64(count) / (cpuTime() - start).Seconds())
}

func usedBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
