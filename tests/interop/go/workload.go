// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/tikv/client-go/v2/rawkv"
)

// The history of a seed: `tests/interop/workload.ts` draws the same numbers in the same order and
// makes the same calls through the client of this project. Every call and its answer is one line.
// An error counts as "refused", whatever its words.

const workloadKeys = 40

// The mulberry32 generator, as in src/testing/seeded_random.ts.
type seeded struct{ state uint32 }

func (s *seeded) next() float64 {
	s.state += 0x6d2b79f5
	mixed := s.state
	mixed = (mixed ^ (mixed >> 15)) * (mixed | 1)
	mixed ^= mixed + (mixed^(mixed>>7))*(mixed|61)
	return float64(mixed^(mixed>>14)) / 4_294_967_296
}

func (s *seeded) int(below int) int { return int(math.Floor(s.next() * float64(below))) }

func (s *seeded) key() []byte { return fmt.Appendf(nil, "k%02d", s.int(workloadKeys)) }

func (s *seeded) value() []byte {
	if s.int(12) == 0 {
		return []byte{}
	}
	return fmt.Appendf(nil, "v%d", s.int(1000))
}

func (s *seeded) keys() [][]byte {
	all := make([][]byte, 1+s.int(8))
	for i := range all {
		all[i] = s.key()
	}
	return all
}

// bounds draws two keys, the lower first.
func (s *seeded) bounds() ([]byte, []byte) {
	one, other := s.key(), s.key()
	if string(one) > string(other) {
		return other, one
	}
	return one, other
}

type history struct {
	*trial
	random *seeded
	plain  *rawkv.Client
	atomic *rawkv.Client
}

func runWorkload(s *settings) {
	failed := runCase(s, 0, testCase{fmt.Sprintf("workload %d", s.seed), everyAPI, func(t *trial) {
		h := &history{trial: t, random: &seeded{uint32(s.seed)}, plain: t.connect(), atomic: t.connect().SetAtomicForCAS(true)}
		for range s.calls {
			h.step()
		}
		keys, values, err := h.plain.Scan(t.ctx, []byte("k"), []byte("l"), workloadKeys+1)
		h.tell("content", pairs(keys, values), err)
	}})
	if failed {
		os.Exit(1)
	}
}

func (h *history) tell(call, answer string, err error) {
	if err != nil {
		answer = "refused"
	}
	say(map[string]any{"call": call, "answer": answer})
}

func (h *history) step() {
	switch r := h.random.int(100); {
	case r < 20:
		h.get()
	case r < 40:
		key, value := h.random.key(), h.random.value()
		h.tell("put "+text(key)+" "+text(value), "done", h.plain.Put(h.ctx, key, value))
	case r < 45:
		key, value, ttl := h.random.key(), h.random.value(), 1000+h.random.int(1000)
		h.tell(fmt.Sprintf("put %s %s ttl %d", text(key), text(value), ttl), "done", h.plain.PutWithTTL(h.ctx, key, value, uint64(ttl)))
	case r < 55:
		keys := h.random.keys()
		values, err := h.plain.BatchGet(h.ctx, keys)
		h.tell("batchGet "+texts(keys), texts(values), err)
	case r < 65:
		h.batchPut()
	case r < 71:
		key := h.random.key()
		h.tell("delete "+text(key), "done", h.plain.Delete(h.ctx, key))
	case r < 75:
		keys := h.random.keys()
		h.tell("batchDelete "+texts(keys), "done", h.plain.BatchDelete(h.ctx, keys))
	case r < 77:
		start, end := h.random.bounds()
		h.tell("deleteRange "+text(start)+" "+text(end), "done", h.plain.DeleteRange(h.ctx, start, end))
	case r < 84:
		start, end := h.random.bounds()
		limit := 1 + h.random.int(10)
		keys, values, err := h.plain.Scan(h.ctx, start, end, limit)
		h.tell(fmt.Sprintf("scan %s %s limit %d", text(start), text(end), limit), pairs(keys, values), err)
	case r < 89:
		start, end := h.random.bounds()
		limit := 1 + h.random.int(10)
		keys, values, err := h.plain.ReverseScan(h.ctx, end, start, limit)
		h.tell(fmt.Sprintf("scan down %s %s limit %d", text(start), text(end), limit), pairs(keys, values), err)
	case r < 91:
		start, end := h.random.bounds()
		keys, _, err := h.plain.Scan(h.ctx, start, end, workloadKeys, rawkv.ScanKeyOnly())
		h.tell("scan keys "+text(start)+" "+text(end), texts(keys), err)
	case r < 93:
		start, end := h.random.bounds()
		sum, err := h.plain.Checksum(h.ctx, start, end)
		h.tell("checksum "+text(start)+" "+text(end), fmt.Sprintf("%016x %d %d", sum.Crc64Xor, sum.TotalKvs, sum.TotalBytes), err)
	case r < 97:
		h.swap()
	case r < 98:
		h.ttl()
	case r < 99:
		key := h.random.key()
		h.must("split", h.askSplit(key))
	default:
		key := h.random.key()
		if err := h.askMoveLeader(key); !errors.Is(err, errUnsupported) {
			h.must("move the leader", err)
		}
	}
}

func (h *history) get() {
	key := h.random.key()
	value, err := h.plain.Get(h.ctx, key)
	h.tell("get "+text(key), text(value), err)
}

func (h *history) batchPut() {
	keys := h.random.keys()
	values := make([][]byte, len(keys))
	for i := range values {
		values[i] = h.random.value()
	}
	h.tell("batchPut "+pairs(keys, values), "done", h.plain.BatchPut(h.ctx, keys, values))
}

// swap expects nothing, a guess, or what is there.
func (h *history) swap() {
	key, guess, value := h.random.key(), h.random.value(), h.random.value()
	var expect []byte
	switch h.random.int(3) {
	case 0:
	case 1:
		expect = guess
	default:
		var err error
		expect, err = h.plain.Get(h.ctx, key)
		h.must("Get", err)
	}
	previous, swapped, err := h.atomic.CompareAndSwap(h.ctx, key, expect, value)
	h.tell("swap "+text(key)+" "+text(expect)+" "+text(value), fmt.Sprintf("%v %s", swapped, text(previous)), err)
}

// The seconds that are left depend on when the question comes; whether there is a limit does not.
func (h *history) ttl() {
	key := h.random.key()
	ttl, err := h.plain.GetKeyTTL(h.ctx, key)
	answer := "none"
	if ttl != nil && *ttl == 0 {
		answer = "endless"
	} else if ttl != nil {
		answer = "limited"
	}
	h.tell("ttl "+text(key), answer, err)
}

func text(bytes []byte) string {
	if bytes == nil {
		return "none"
	}
	return "0x" + hex.EncodeToString(bytes)
}

func texts(list [][]byte) string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = text(one)
	}
	return strings.Join(all, " ")
}

func pairs(keys, values [][]byte) string {
	all := make([]string, len(keys))
	for i := range keys {
		all[i] = text(keys[i]) + "=" + text(values[i])
	}
	return strings.Join(all, " ")
}
