// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tikv/client-go/v2/rawkv"
)

type testCase struct {
	name string
	apis []string
	run  func(t *trial)
}

var (
	everyAPI = []string{"v1", "v1ttl", "v2"}
	withTTL  = []string{"v1ttl", "v2"}
)

func allCases() []testCase {
	cases := rawCases()
	cases = append(cases, rangeCases()...)
	cases = append(cases, atomicCases()...)
	cases = append(cases, modeCases()...)
	cases = append(cases, pdCases()...)
	return append(cases, changeCases()...)
}

// trial is one run of a case: its own key prefix, its failures, and what must be closed after it.
type trial struct {
	*settings
	ctx      context.Context
	prefix   string
	failures []string
	cleanups []func()
}

// Thrown by a trial that cannot go on.
type stopTrial struct{ skip string }

func runSuite(s *settings) {
	failed, only := false, regexp.MustCompile(s.only)
	for i, c := range allCases() {
		if !contains(c.apis, s.api) || !only.MatchString(c.name) {
			continue
		}
		failed = runCase(s, i, c) || failed
	}
	say(map[string]any{"done": true})
	if failed {
		os.Exit(1)
	}
}

func runCase(s *settings, number int, c testCase) (failed bool) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t := &trial{settings: s, ctx: ctx, prefix: fmt.Sprintf("case-%03d/", number)}
	skip := ""
	func() {
		defer func() {
			for i := len(t.cleanups) - 1; i >= 0; i-- {
				t.cleanups[i]()
			}
			cancel()
			switch stopped := recover().(type) {
			case nil:
			case stopTrial:
				skip = stopped.skip
			default:
				t.failures = append(t.failures, fmt.Sprintf("client-go panicked: %v\n%s", stopped, debug.Stack()))
			}
		}()
		c.run(t)
	}()
	line := map[string]any{"case": c.name, "ok": len(t.failures) == 0, "ms": time.Since(start).Milliseconds()}
	if len(t.failures) > 0 {
		line["failures"] = t.failures
	} else if skip != "" {
		line["skip"] = skip
	}
	say(line)
	return len(t.failures) > 0
}

func contains(list []string, item string) bool {
	for _, one := range list {
		if one == item {
			return true
		}
	}
	return false
}

// connect opens a raw client with the settings of the run; the trial closes it.
func (t *trial) connect(options ...rawkv.ClientOpt) *rawkv.Client {
	options = append([]rawkv.ClientOpt{rawkv.WithAPIVersion(t.version()), rawkv.WithKeyspace(t.keyspace), rawkv.WithSecurity(t.security())}, options...)
	client, err := rawkv.NewClientWithOpts(t.ctx, t.members(), options...)
	t.must("connect", err)
	t.cleanups = append(t.cleanups, func() { _ = client.Close() })
	return client
}

func (t *trial) members() []string { return strings.Split(t.pd, ",") }

func (t *trial) key(name string) []byte { return []byte(t.prefix + name) }

// keys returns count keys in order: prefix + four digits.
func (t *trial) keys(count int) [][]byte {
	all := make([][]byte, count)
	for i := range all {
		all[i] = t.key(fmt.Sprintf("%04d", i))
	}
	return all
}

// end returns the first key behind all keys of the trial.
func (t *trial) end() []byte {
	return append([]byte(t.prefix[:len(t.prefix)-1]), '/'+1)
}

// equal reports the call, what came back and what TiKV promises.
func (t *trial) equal(call string, got, want any) {
	if !same(got, want) {
		t.failures = append(t.failures, fmt.Sprintf("%s: answered %s, expected %s", call, show(got), show(want)))
	}
}

func (t *trial) isTrue(call string, holds bool, got any) {
	if !holds {
		t.failures = append(t.failures, fmt.Sprintf("%s: answered %s", call, show(got)))
	}
}

// must ends the trial on an error: an expectation after it would be noise.
func (t *trial) must(call string, err error) {
	if err == nil {
		return
	}
	if errors.Is(err, errUnsupported) {
		panic(stopTrial{skip: err.Error()})
	}
	t.failures = append(t.failures, fmt.Sprintf("%s: failed with %q, expected success", call, err.Error()))
	panic(stopTrial{})
}

func (t *trial) refused(call string, err error) {
	if err == nil {
		t.failures = append(t.failures, call+": succeeded, expected a refusal")
	}
}

// until polls a condition that the cluster reaches by itself.
func (t *trial) until(what string, limit time.Duration, holds func() bool) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.failures = append(t.failures, fmt.Sprintf("%s: not reached within %v", what, limit))
}

// A missing value (nil) differs from an empty one, in lists too.
func same(got, want any) bool {
	switch one := got.(type) {
	case []byte:
		other, ok := want.([]byte)
		return ok && (one == nil) == (other == nil) && bytes.Equal(one, other)
	case [][]byte:
		other, ok := want.([][]byte)
		if !ok || len(one) != len(other) {
			return false
		}
		for i := range one {
			if !same(one[i], other[i]) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(got, want)
	}
}

func show(value any) string {
	switch one := value.(type) {
	case []byte:
		if one == nil {
			return "nothing"
		}
		if len(one) > 80 {
			return fmt.Sprintf("%q… (%d bytes)", one[:80], len(one))
		}
		return fmt.Sprintf("%q", one)
	case [][]byte:
		texts := make([]string, 0, len(one))
		for i, item := range one {
			if i == 20 {
				texts = append(texts, fmt.Sprintf("… (%d items)", len(one)))
				break
			}
			texts = append(texts, show(item))
		}
		return "[" + strings.Join(texts, " ") + "]"
	case error:
		return fmt.Sprintf("the error %q", one.Error())
	default:
		return fmt.Sprintf("%+v", value)
	}
}
