// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Assertion, KeyErrorSchema, Op, WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";
import type { TikvError } from "../../../src/errors.ts";
import {
  AssertionFailedError,
  DeadlockError,
  KeyExistsError,
  TxnAbortedError,
  WriteConflictError,
} from "../../../src/txn_errors.ts";
import { keyErrorOf, locksInError } from "../../../src/txn/locks/key_error.ts";
import { bytes, text } from "../raw/fake_store.ts";

const SECRET = "customer-4711";
const secret = bytes(SECRET);

function errorOf(init: MessageInitShape<typeof KeyErrorSchema>, revealKeys = false): TikvError {
  return keyErrorOf(create(KeyErrorSchema, init), { method: "KvPrewrite", revealKeys });
}

test("[TXN-166] [TXN-190] each field of a key error has its kind and its advice", () => {
  const key = secret;
  const rows: [MessageInitShape<typeof KeyErrorSchema>, string, string][] = [
    [{ conflict: { key, startTs: 1n, conflictTs: 2n } }, "write-conflict", "transaction"],
    [{ alreadyExist: { key } }, "key-exists", "never"],
    [{ deadlock: { lockTs: 3n, lockKey: key } }, "deadlock", "transaction"],
    [{ assertionFailed: { key, startTs: 1n } }, "assertion-failed", "never"],
    [
      { commitTsExpired: { key, startTs: 1n, attemptedCommitTs: 5n, minCommitTs: 6n } },
      "txn-aborted",
      "transaction",
    ],
    [{ commitTsTooLarge: { commitTs: 9n } }, "txn-aborted", "transaction"],
    [{ txnNotFound: { startTs: 1n, primaryKey: key } }, "txn-aborted", "transaction"],
    [{ txnLockNotFound: { key } }, "txn-aborted", "transaction"],
    [
      { retryable: "Error(Txn(Error(Mvcc(Error(TxnLockNotFound { start_ts: 1 })))))" },
      "txn-aborted",
      "transaction",
    ],
    [{ primaryMismatch: {} }, "protocol", "never"],
    [{ locked: { key, lockVersion: 7n } }, "protocol", "never"],
    [{ abort: "Error(Txn(Error(Mvcc(Error(Committed { start_ts: 1 })))))" }, "server", "never"],
    [{ abort: "PessimisticLockNotFound { start_ts: 1 }" }, "txn-aborted", "transaction"],
    [{ abort: "KeyTooLarge { size: 9000, limit: 8192 }" }, "too-large", "never"],
    [{ abort: "ApiVersionNotMatched { cmd: get }" }, "unsupported", "never"],
    [{ abort: "InvalidKeyMode { cmd: get }" }, "unsupported", "never"],
    [{}, "protocol", "never"],
  ];
  for (const [init, kind, retry] of rows) {
    const error = errorOf(init);
    assert.deepEqual(
      [error.kind, error.retry, error.context.method],
      [kind, retry, "KvPrewrite"],
      JSON.stringify(Object.keys(init)),
    );
  }
});

test("[TXN-166] a conflict comes before the text that goes with it, and carries its facts", () => {
  const error = errorOf({
    retryable: "Error(Txn(Error(Mvcc(Error(WriteConflict { start_ts: 1 })))))",
    conflict: {
      key: secret,
      startTs: 10n,
      conflictTs: 11n,
      conflictCommitTs: 12n,
      reason: WriteConflict_Reason.RcCheckTs,
    },
  });
  assert.ok(error instanceof WriteConflictError);
  const { key, startTs, conflictTs, conflictCommitTs, reason } = error;
  assert.deepEqual([text(key), startTs, conflictTs, conflictCommitTs, reason], [
    SECRET,
    10n,
    11n,
    12n,
    "read-committed-check-ts",
  ]);
});

test("[TXN-190] every reason of a conflict has a name, also one that is not known yet", () => {
  const names = [0, 1, 2, 3, 4, 5, 6, 99].map((reason) => {
    const error = errorOf({ conflict: { reason: reason as WriteConflict_Reason } });
    return error instanceof WriteConflictError ? error.reason : undefined;
  });
  assert.deepEqual(names, [
    "unknown",
    "optimistic",
    "pessimistic-retry",
    "self-rolled-back",
    "read-committed-check-ts",
    "lazy-uniqueness-check",
    "not-locked-key-conflict",
    "unknown",
  ]);
});

test("[TXN-120] a deadlock carries its wait chain", () => {
  const error = errorOf({
    deadlock: {
      lockTs: 5n,
      lockKey: secret,
      deadlockKey: bytes("other"),
      deadlockKeyHash: 77n,
      waitChain: [{ txn: 5n, waitForTxn: 9n, key: bytes("other"), resourceGroupTag: bytes("tag") }],
    },
  });
  assert.ok(error instanceof DeadlockError);
  assert.deepEqual([text(error.key), error.lockTs, text(error.deadlockKey), error.deadlockKeyHash], [
    SECRET,
    5n,
    "other",
    77n,
  ]);
  assert.deepEqual(
    error.waitChain.map(({ startTs, waitsForTs, key, resourceGroupTag }) => [
      startTs,
      waitsForTs,
      text(key),
      text(resourceGroupTag),
    ]),
    [[5n, 9n, "other", "tag"]],
  );
});

test("[TXN-086] an assertion that does not hold carries what was there", () => {
  const error = errorOf({
    assertionFailed: {
      key: secret,
      startTs: 1n,
      assertion: Assertion.NotExist,
      existingStartTs: 2n,
      existingCommitTs: 3n,
    },
  });
  assert.ok(error instanceof AssertionFailedError);
  assert.deepEqual([text(error.key), error.assertion, error.existingStartTs, error.existingCommitTs], [
    SECRET,
    "not-exists",
    2n,
    3n,
  ]);
});

test("[TXN-191] neither messages nor what is printed of an error has a key in it", () => {
  const debug = `Error(Txn(Error(Mvcc(Error(TxnLockNotFound { key: "${SECRET}" })))))`;
  const inits: MessageInitShape<typeof KeyErrorSchema>[] = [
    { conflict: { key: secret, primary: secret } },
    { alreadyExist: { key: secret } },
    { deadlock: { lockKey: secret, deadlockKey: secret, waitChain: [{ key: secret }] } },
    { assertionFailed: { key: secret } },
    { txnNotFound: { primaryKey: secret } },
    { txnLockNotFound: { key: secret } },
    { locked: { key: secret, primaryLock: secret } },
    { retryable: debug },
    { abort: debug },
    { abort: `KeyTooLarge { key: "${SECRET}" }` },
  ];
  for (const init of inits) {
    const error = errorOf(init);
    assert.ok(!error.message.includes(SECRET), error.message);
    assert.ok(!error.message.includes("637573746f6d6572"), error.message);
    const printed = Object.keys(error);
    for (const name of ["key", "deadlockKey", "waitChain"]) assert.ok(!printed.includes(name), name);
  }
  assert.match(errorOf({ abort: debug }, true).message, /customer-4711/);
  assert.match(errorOf({ alreadyExist: { key: bytes("k") } }, true).message, /6b/);
});

test("[TXN-190] data that is not told is absent, and the classes are told apart", () => {
  const gone = errorOf({ txnLockNotFound: { key: secret } });
  assert.ok(gone instanceof TxnAbortedError && gone.startTs === undefined);
  const lost = errorOf({ txnNotFound: { startTs: 8n } });
  assert.ok(lost instanceof TxnAbortedError && lost.startTs === 8n);
  assert.ok(errorOf({ alreadyExist: { key: secret } }) instanceof KeyExistsError);
});

test("[T-34] the locks of an error are those of transactions, never the wrapper of shared ones", () => {
  const wrapper = create(KeyErrorSchema, {
    locked: {
      key: secret,
      lockVersion: 999n,
      lockType: Op.SharedLock,
      sharedLockInfos: [{ lockVersion: 1n, primaryLock: bytes("p1") }, {
        lockVersion: 2n,
        primaryLock: bytes("p2"),
        key: secret,
      }],
    },
  });
  assert.deepEqual(locksInError(wrapper).map(({ lockVersion, key }) => [lockVersion, text(key)]), [
    [1n, SECRET],
    [2n, SECRET],
  ]);
  assert.deepEqual(locksInError(create(KeyErrorSchema, { abort: "x" })), []);
});
