// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/kv"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/txnkv/transaction"
	"github.com/tikv/client-go/v2/txnkv/txnsnapshot"
)

type remoteOp func(s *server, ctx context.Context, call *remoteCall) (any, error)

var remoteOps map[string]remoteOp

func init() {
	remoteOps = map[string]remoteOp{
		"timestamp": func(s *server, ctx context.Context, _ *remoteCall) (any, error) {
			ts, err := s.client.GetTimestamp(ctx)
			return decimal(ts), err
		},
		"begin":        begin,
		"get":          onTxn(get),
		"batchGet":     onTxn(batchGet),
		"scan":         onTxn(scan),
		"put":          onTxn(put),
		"insert":       onTxn(insert),
		"insertLocked": onTxn(insertLocked),
		"delete":       onTxn(remove),
		"assert":       onTxn(assertExistence),
		"lock":         onTxn(lock),
		"fair":         onTxn(fair),
		"flush":        onTxn(flush),
		"commit":       onTxn(commit),
		"rollback":     onTxn(rollback),
		"snapGet":      snapGet,
		"snapBatchGet": snapBatchGet,
		"snapScan":     snapScan,
		"safePoint":    safePoint,
		"gc":           collectGarbage,
	}
}

func onTxn(run func(s *server, ctx context.Context, txn *openTxn, call *remoteCall) (any, error)) remoteOp {
	return func(s *server, ctx context.Context, call *remoteCall) (any, error) {
		return run(s, ctx, s.open(call.Txn), call)
	}
}

func begin(s *server, _ context.Context, call *remoteCall) (any, error) {
	var options []tikv.TxnOption
	if call.Ts != "" {
		options = append(options, tikv.WithStartTS(timestampOf(call.Ts)))
	}
	if call.Pipelined {
		options = append(options, tikv.WithDefaultPipelinedTxn())
	}
	inner, err := s.client.Begin(options...)
	if err != nil {
		return nil, err
	}
	txn := &openTxn{KVTxn: inner, path: "none"}
	if !call.Pipelined {
		txn.SetPessimistic(call.Pessimistic) // it panics otherwise
	}
	txn.SetEnable1PC(call.Commit == "auto" || call.Commit == "1pc")
	txn.SetEnableAsyncCommit(call.Commit == "auto" || call.Commit == "async")
	txn.SetCausalConsistency(call.Causal)
	txn.SetAssertionLevel(kvrpcpb.AssertionLevel_Fast)
	if call.Strict {
		txn.SetAssertionLevel(kvrpcpb.AssertionLevel_Strict)
	}
	if call.NoResolve {
		txn.SetPrewriteEncounterLockPolicy(transaction.NoResolvePolicy)
	}
	txn.SetCommitCallback(func(text string, err error) {
		var info transaction.TxnInfo
		if json.Unmarshal([]byte(text), &info) == nil && err == nil {
			txn.path = paths[info.TxnCommitMode]
		}
	})
	s.keep(call.Txn, txn)
	return decimal(txn.StartTS()), nil
}

var paths = map[string]string{"2pc": "2pc", "async_commit": "async", "1pc": "1pc"}

func get(_ *server, ctx context.Context, txn *openTxn, call *remoteCall) (any, error) {
	value, err := txn.Get(ctx, call.key())
	return valueOf(value, err)
}

func batchGet(_ *server, ctx context.Context, txn *openTxn, call *remoteCall) (any, error) {
	found, err := txn.BatchGet(ctx, call.keys())
	return mapOf(found), err
}

func scan(_ *server, _ context.Context, txn *openTxn, call *remoteCall) (any, error) {
	return collect(txn.Iter, txn.IterReverse, call)
}

func put(_ *server, _ context.Context, txn *openTxn, call *remoteCall) (any, error) {
	return nil, txn.Set(call.key(), unhex(call.Value))
}

func remove(_ *server, _ context.Context, txn *openTxn, call *remoteCall) (any, error) {
	return nil, txn.Delete(call.key())
}

// An insert is what callers of client-go make of its flags: a value that is there already is
// refused; over the transaction's own delete it is a put.
func insert(_ *server, ctx context.Context, txn *openTxn, call *remoteCall) (any, error) {
	key, buffer := call.key(), txn.GetMemBuffer()
	pending, err := buffer.GetLocal(ctx, key)
	if err == nil && len(pending) > 0 {
		return nil, &tikverr.ErrKeyExist{AlreadyExist: &kvrpcpb.AlreadyExist{Key: key}}
	}
	flags, _ := buffer.GetFlags(key)
	if err == nil && !flags.HasPresumeKeyNotExists() {
		return nil, buffer.Set(key, unhex(call.Value))
	}
	return nil, buffer.SetWithFlags(key, unhex(call.Value), kv.SetPresumeKeyNotExists, kv.SetNewlyInserted)
}

// insertLocked is a statement that inserts and locks; what it wrote is undone when it fails.
func insertLocked(s *server, ctx context.Context, txn *openTxn, call *remoteCall) (any, error) {
	buffer := txn.GetMemBuffer()
	stage := buffer.Staging()
	_, err := insert(s, ctx, txn, call)
	if err == nil {
		_, err = lock(s, ctx, txn, call)
	}
	if err != nil {
		buffer.Cleanup(stage)
	} else {
		buffer.Release(stage)
	}
	return nil, err
}

func assertExistence(_ *server, _ context.Context, txn *openTxn, call *remoteCall) (any, error) {
	if call.Exists {
		txn.GetMemBuffer().UpdateFlags(call.key(), kv.SetAssertExist)
	} else {
		txn.GetMemBuffer().UpdateFlags(call.key(), kv.SetAssertNotExist)
	}
	return nil, nil
}

// lock returns the values of the keys as of the lock, with what the transaction wrote itself.
func lock(s *server, ctx context.Context, txn *openTxn, call *remoteCall) (any, error) {
	if !txn.IsPessimistic() {
		if err := txn.LockKeys(ctx, kv.NewLockCtx(0, kv.LockAlwaysWait, time.Now()), call.keys()...); err != nil {
			return nil, err
		}
		found, err := txn.BatchGet(ctx, call.keys())
		return map[string]any{"values": mapOf(found)}, err
	}
	// A conflict is no matter to who reads what is there now: callers of client-go lock again.
	lockCtx, err := tryLock(s, ctx, txn, call)
	for tikverr.IsErrWriteConflict(err) {
		lockCtx, err = tryLock(s, ctx, txn, call)
	}
	if err != nil {
		return nil, err
	}
	values, conflicts := map[string][]byte{}, map[string]string{}
	for _, key := range call.keys() {
		locked := lockCtx.Values[string(key)]
		if locked.LockedWithConflictTS > 0 {
			conflicts[hex.EncodeToString(key)] = decimal(locked.LockedWithConflictTS)
		}
		own, err := txn.GetMemBuffer().GetLocal(ctx, key)
		switch {
		case err == nil && len(own) > 0:
			values[string(key)] = own
		case err == nil: // deleted by the transaction itself
		case locked.AlreadyLocked:
			value, err := s.client.GetSnapshot(lockCtx.ForUpdateTS).Get(ctx, key)
			if err == nil {
				values[string(key)] = value
			} else if !tikverr.IsErrNotFound(err) {
				return nil, err
			}
		case locked.Exists:
			values[string(key)] = locked.Value
		}
	}
	return map[string]any{"values": mapOf(values), "conflicts": conflicts}, nil
}

func tryLock(s *server, ctx context.Context, txn *openTxn, call *remoteCall) (*kv.LockCtx, error) {
	forUpdateTs, err := s.client.GetTimestamp(ctx)
	if err != nil {
		return nil, err
	}
	wait := call.WaitMs
	switch wait {
	case -1:
		wait = kv.LockAlwaysWait
	case 0:
		wait = kv.LockNoWait
	}
	lockCtx := kv.NewLockCtx(forUpdateTs, wait, time.Now())
	lockCtx.InitReturnValues(len(call.Keys))
	lockCtx.LockOnlyIfExists = call.OnlyIfFound
	return lockCtx, txn.LockKeys(ctx, lockCtx, call.keys()...)
}

func fair(_ *server, ctx context.Context, txn *openTxn, call *remoteCall) (any, error) {
	switch call.Step {
	case "start":
		txn.StartAggressiveLocking()
	case "retry":
		txn.RetryAggressiveLocking(ctx)
	case "cancel":
		txn.CancelAggressiveLocking(ctx)
	case "done":
		txn.DoneAggressiveLocking(ctx)
	default:
		panic("unknown step of fair locking " + call.Step)
	}
	return nil, nil
}

func flush(_ *server, _ context.Context, txn *openTxn, _ *remoteCall) (any, error) {
	if _, err := txn.GetMemBuffer().Flush(true); err != nil {
		return nil, err
	}
	return nil, txn.GetMemBuffer().FlushWait()
}

func commit(_ *server, ctx context.Context, txn *openTxn, _ *remoteCall) (any, error) {
	if err := txn.Commit(ctx); err != nil {
		return nil, err
	}
	return map[string]any{"commitTs": decimal(txn.CommitTS()), "path": txn.path}, nil
}

func rollback(_ *server, _ context.Context, txn *openTxn, _ *remoteCall) (any, error) {
	return nil, txn.Rollback()
}

func (s *server) snapshot(call *remoteCall) *txnsnapshot.KVSnapshot {
	snapshot := s.client.GetSnapshot(timestampOf(call.Ts))
	snapshot.SetKeyOnly(call.KeysOnly)
	return snapshot
}

func snapGet(s *server, ctx context.Context, call *remoteCall) (any, error) {
	value, err := s.snapshot(call).Get(ctx, call.key())
	return valueOf(value, err)
}

func snapBatchGet(s *server, ctx context.Context, call *remoteCall) (any, error) {
	found, err := s.snapshot(call).BatchGet(ctx, call.keys())
	return mapOf(found), err
}

func snapScan(s *server, _ context.Context, call *remoteCall) (any, error) {
	snapshot := s.snapshot(call)
	return collect(snapshot.Iter, snapshot.IterReverse, call)
}

// safePoint makes the client know what PD says about garbage now, and not only every ten seconds.
func safePoint(s *server, ctx context.Context, _ *remoteCall) (any, error) {
	state, err := tikv.StoreProbe{KVStore: s.client.KVStore}.GetGCStatesClient().GetGCState(ctx)
	if err != nil {
		return nil, err
	}
	s.client.UpdateTxnSafePointCache(state.TxnSafePoint, time.Now())
	return decimal(state.TxnSafePoint), nil
}

// collectGarbage resolves all locks up to a timestamp, and moves the safe points there.
func collectGarbage(s *server, ctx context.Context, call *remoteCall) (any, error) {
	reached, err := s.client.GC(ctx, timestampOf(call.Ts))
	return decimal(reached), err
}

type iterate func(from, to []byte) (tikv.Iterator, error)

// An absent bound is no bound. The entries come as pairs of key and value.
func collect(forward, backward iterate, call *remoteCall) (any, error) {
	start, end := unhex(call.Start), unhex(call.End)
	var iterator tikv.Iterator
	var err error
	if call.Reverse {
		iterator, err = backward(end, start)
	} else {
		iterator, err = forward(start, end)
	}
	if err != nil {
		return nil, err
	}
	defer iterator.Close()
	entries := [][2]string{}
	for iterator.Valid() && (call.Limit == 0 || len(entries) < call.Limit) {
		entries = append(entries, [2]string{hex.EncodeToString(iterator.Key()), hex.EncodeToString(iterator.Value())})
		if err := iterator.Next(); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func (call *remoteCall) key() []byte { return unhex(call.Keys[0]) }

func (call *remoteCall) keys() [][]byte {
	all := make([][]byte, len(call.Keys))
	for i, key := range call.Keys {
		all[i] = unhex(key)
	}
	return all
}

func valueOf(value []byte, err error) (any, error) {
	if tikverr.IsErrNotFound(err) {
		return nil, nil
	}
	return hex.EncodeToString(value), err
}

func mapOf(found map[string][]byte) map[string]string {
	all := map[string]string{}
	for key, value := range found {
		all[hex.EncodeToString([]byte(key))] = hex.EncodeToString(value)
	}
	return all
}

func unhex(text string) []byte {
	if text == "" {
		return nil
	}
	bytes, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return bytes
}

func decimal(ts uint64) string { return strconv.FormatUint(ts, 10) }

func timestampOf(text string) uint64 {
	ts, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return ts
}
