// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"

	tikverr "github.com/tikv/client-go/v2/error"
)

// describe names an error of client-go as this project's client does (docs/errors.md).
func describe(err error) map[string]any {
	told := map[string]any{"kind": kindOf(err), "message": err.Error()}
	var conflict *tikverr.ErrWriteConflict
	var deadlock *tikverr.ErrDeadlock
	switch {
	case errors.As(err, &conflict):
		told["reason"] = conflict.GetReason().String()
	case errors.As(err, &deadlock):
		told["lockTs"] = decimal(deadlock.GetLockTs())
		told["isRetryable"] = deadlock.IsRetryable
		chain := [][]string{}
		for _, wait := range deadlock.GetWaitChain() {
			chain = append(chain, []string{decimal(wait.GetTxn()), decimal(wait.GetWaitForTxn())})
		}
		told["waitChain"] = chain
	}
	return told
}

func kindOf(err error) string {
	var (
		latch     *tikverr.ErrWriteConflictInLatch
		conflict  *tikverr.ErrWriteConflict
		exists    *tikverr.ErrKeyExist
		deadlock  *tikverr.ErrDeadlock
		assertion *tikverr.ErrAssertionFailed
		collected *tikverr.ErrTxnAbortedByGC
		retryable *tikverr.ErrRetryable
		entry     *tikverr.ErrEntryTooLarge
		key       *tikverr.ErrKeyTooLarge
	)
	switch {
	case errors.Is(err, tikverr.ErrResultUndetermined):
		return "undetermined"
	case errors.As(err, &conflict), errors.As(err, &latch):
		return "write-conflict"
	case errors.As(err, &exists):
		return "key-exists"
	case errors.As(err, &deadlock):
		return "deadlock"
	case errors.As(err, &assertion):
		return "assertion-failed"
	case errors.As(err, &collected):
		return "snapshot-too-old"
	case errors.Is(err, tikverr.ErrLockAcquireFailAndNoWaitSet), errors.Is(err, tikverr.ErrLockWaitTimeout):
		return "lock-wait-timeout"
	case errors.Is(err, tikverr.ErrInvalidTxn):
		return "misuse"
	case errors.As(err, &entry), errors.As(err, &key):
		return "too-large"
	// client-go has no types of its own for these.
	case errors.As(err, &retryable), strings.Contains(err.Error(), "PessimisticLockNotFound"),
		strings.Contains(err.Error(), "not found"):
		return "txn-aborted"
	}
	return "other"
}
