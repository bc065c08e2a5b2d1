// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pingcap/log"
	"github.com/tikv/client-go/v2/rawkv"
	"github.com/tikv/client-go/v2/txnkv"
	"go.uber.org/zap"
)

const (
	keyCount        = 16_384
	batchGetKeys    = 16
	scanRows        = 100
	latencySampling = 8
)

// result has the same fields as the lines of raw_bench.ts.
type result struct {
	Client       string  `json:"client"`
	Runtime      string  `json:"runtime"`
	Operation    string  `json:"operation"`
	Callers      int     `json:"callers"`
	Operations   int64   `json:"operations"`
	Seconds      float64 `json:"seconds"`
	OpsPerSecond float64 `json:"opsPerSecond"`
	P50Us        float64 `json:"p50Us"`
	P99Us        float64 `json:"p99Us"`
	CPUUsPerOp   float64 `json:"cpuUsPerOp"`
	RSSMb        float64 `json:"rssMb"`
}

// Every phase is one line on the standard input ("get 256 2"): operation, callers, seconds. The
// process stays warm between phases, as the TypeScript one does.
func load(arguments []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	pd := flags.String("pd", "127.0.0.1:2379", "PD address")
	operation := flags.String("operation", "get", "get, put, batchGet, scan, or one of txn_load.go; - reads phases from the standard input")
	callers := flags.Int("callers", 256, "how many goroutines call")
	seconds := flags.Float64("seconds", 2, "how long to measure; a quarter of it is warm-up before")
	check(flags.Parse(arguments))
	log.ReplaceGlobals(zap.NewNop(), &log.ZapProperties{})

	client := &subject{pd: *pd}
	defer client.close()
	keys := make([][]byte, keyCount)
	for i := range keys {
		keys[i] = benchKey(i)
	}
	if *operation != "-" {
		report(measure(client, keys, *operation, *callers, *seconds))
		return
	}
	for {
		var phase string
		if _, err := fmt.Scanln(&phase, callers, seconds); err != nil {
			return
		}
		report(measure(client, keys, phase, *callers, *seconds))
	}
}

func report(line result) { check(json.NewEncoder(os.Stdout).Encode(line)) }

func measure(client *subject, keys [][]byte, operation string, callers int, seconds float64) result {
	call, err := caller(client, keys, operation)
	check(err)
	runPhase(call, callers, seconds/4)
	runtime.GC()
	cpuBefore, start := cpuTime(), time.Now()
	count, samples := runPhase(call, callers, seconds)
	elapsed, cpu := time.Since(start), cpuTime()-cpuBefore
	slices.Sort(samples)
	return result{
		Client: "client-go", Runtime: fmt.Sprintf("go×%d", runtime.GOMAXPROCS(0)), Operation: operation, Callers: callers,
		Operations: count, Seconds: elapsed.Seconds(), OpsPerSecond: float64(count) / elapsed.Seconds(),
		P50Us: quantile(samples, 0.5), P99Us: quantile(samples, 0.99),
		CPUUsPerOp: float64(cpu.Nanoseconds()) / 1e3 / float64(count), RSSMb: rssMb(),
	}
}

// subject connects in the mode that is asked for.
type subject struct {
	pd  string
	raw *rawkv.Client
	txn *txnkv.Client
}

func (s *subject) close() {
	if s.raw != nil {
		s.raw.Close()
	}
	if s.txn != nil {
		s.txn.Close()
	}
}

func caller(s *subject, keys [][]byte, operation string) (func(turn int) error, error) {
	if strings.HasPrefix(operation, "txn") || strings.HasPrefix(operation, "snapshot") {
		if s.txn == nil {
			client, err := txnkv.NewClient([]string{s.pd})
			if err != nil {
				return nil, err
			}
			s.txn = client
		}
		return txnCaller(s.txn, keys, operation)
	}
	if s.raw == nil {
		client, err := rawkv.NewClientWithOpts(context.Background(), []string{s.pd})
		if err != nil {
			return nil, err
		}
		s.raw = client
	}
	return rawCaller(s.raw, keys, operation)
}

func rawCaller(client *rawkv.Client, keys [][]byte, operation string) (func(turn int) error, error) {
	ctx := context.Background()
	key := func(turn int) []byte { return keys[turn%keyCount] }
	switch operation {
	case "get":
		return func(turn int) error { _, err := client.Get(ctx, key(turn)); return err }, nil
	case "put":
		return func(turn int) error { return client.Put(ctx, key(turn), value) }, nil
	case "batchGet":
		return func(turn int) error {
			from := turn * batchGetKeys % (keyCount - batchGetKeys)
			_, err := client.BatchGet(ctx, keys[from:from+batchGetKeys])
			return err
		}, nil
	case "scan":
		return func(turn int) error { _, _, err := client.Scan(ctx, key(turn), nil, scanRows); return err }, nil
	default:
		return nil, fmt.Errorf("no operation %q", operation)
	}
}

// runPhase lets all callers call in a loop until the time is up; returns the count and some latencies.
func runPhase(call func(turn int) error, callers int, seconds float64) (int64, []time.Duration) {
	var stop atomic.Bool
	var total atomic.Int64
	var mutex sync.Mutex
	var wait sync.WaitGroup
	var all []time.Duration
	timer := time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { stop.Store(true) })
	defer timer.Stop()
	for i := range callers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			var samples []time.Duration
			turn := i * 61
			calls := 0
			for ; !stop.Load(); calls++ {
				if calls%latencySampling != 0 {
					check(call(turn + calls))
					continue
				}
				start := time.Now()
				check(call(turn + calls))
				samples = append(samples, time.Since(start))
			}
			total.Add(int64(calls))
			mutex.Lock()
			all = append(all, samples...)
			mutex.Unlock()
		}()
	}
	wait.Wait()
	return total.Load(), all
}

func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(q*float64(len(sorted)-1))].Nanoseconds()) / 1e3
}

// User and system time of the process.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func rssMb() float64 {
	var size, resident int64
	file, err := os.Open("/proc/self/statm")
	if err != nil {
		return 0
	}
	defer file.Close()
	if _, err := fmt.Fscan(file, &size, &resident); err != nil {
		return 0
	}
	return float64(resident*int64(os.Getpagesize())) / (1 << 20)
}
