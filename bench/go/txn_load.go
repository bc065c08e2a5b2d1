// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tikv/client-go/v2/kv"
	"github.com/tikv/client-go/v2/txnkv"
	"github.com/tikv/client-go/v2/txnkv/transaction"
)

// txnPaths are the ways to commit, by the last part of an operation's name: "txn1-1pc".
var txnPaths = map[string]func(txn *transaction.KVTxn){
	"1pc":   func(txn *transaction.KVTxn) { txn.SetEnable1PC(true); txn.SetEnableAsyncCommit(true) },
	"async": func(txn *transaction.KVTxn) { txn.SetEnableAsyncCommit(true) },
	"2pc":   func(*transaction.KVTxn) {},
	"pessimistic": func(txn *transaction.KVTxn) {
		txn.SetPessimistic(true)
		txn.SetEnable1PC(true)
		txn.SetEnableAsyncCommit(true)
	},
}

func txnCaller(client *txnkv.Client, keys [][]byte, operation string) (func(turn int) error, error) {
	ctx := context.Background()
	from := func(turn, count int) [][]byte {
		start := turn * count % (keyCount - count)
		return keys[start : start+count]
	}
	ts, err := client.CurrentTimestamp("global")
	if err != nil {
		return nil, err
	}
	switch operation {
	case "snapshotGet":
		return func(turn int) error {
			_, err := client.GetSnapshot(ts).Get(ctx, keys[turn%keyCount])
			return err
		}, nil
	case "snapshotBatchGet":
		return func(turn int) error {
			_, err := client.GetSnapshot(ts).BatchGet(ctx, from(turn, batchGetKeys))
			return err
		}, nil
	case "snapshotScan":
		return func(turn int) error { return snapshotScan(client, ts, keys[turn%keyCount]) }, nil
	}
	var count int
	var path string
	if _, err := fmt.Sscanf(operation, "txn%d-%s", &count, &path); err != nil || txnPaths[path] == nil {
		return nil, fmt.Errorf("no operation %q", operation)
	}
	return func(turn int) error { return runTxn(ctx, client, from(turn, count), path) }, nil
}

func snapshotScan(client *txnkv.Client, ts uint64, start []byte) error {
	snapshot := client.GetSnapshot(ts)
	snapshot.SetScanBatchSize(scanRows)
	found, err := snapshot.Iter(start, nil)
	if err != nil {
		return err
	}
	defer found.Close()
	for row := 1; row < scanRows && found.Valid(); row++ {
		if err := found.Next(); err != nil {
			return err
		}
	}
	return nil
}

func runTxn(ctx context.Context, client *txnkv.Client, keys [][]byte, path string) error {
	txn, err := client.Begin()
	if err != nil {
		return err
	}
	txnPaths[path](txn)
	if path == "pessimistic" {
		lock := kv.NewLockCtx(txn.StartTS(), kv.LockAlwaysWait, time.Now())
		if err := txn.LockKeys(ctx, lock, keys...); err != nil {
			return err
		}
	}
	for _, key := range keys {
		if err := txn.Set(key, value); err != nil {
			return err
		}
	}
	return txn.Commit(ctx)
}
