// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import * as kvrpc from "../../../gen/kvrpcpb_pb.ts";
import * as tikv from "../../../gen/tikvpb_pb.ts";
import { type CommandName, COMMANDS } from "../../../src/rpc/commands.ts";
import { arbitraryMessage, plain } from "../../helpers/arbitrary_message.ts";

const all = Object.values(COMMANDS);

test("[RPC-028] every command is a unary method of the service, under its own name", () => {
  const methods = new Map(tikv.Tikv.methods.map((method) => [method.name, method]));
  for (const { name, path } of all) {
    if (name === "Empty") continue;
    assert.equal(path, `/tikvpb.Tikv/${name}`);
    assert.equal(methods.get(name)?.methodKind, "unary", name);
  }
});

test("[RPC-009] the tag of a command is the field of a batch that has the method's message", () => {
  const methods = new Map(tikv.Tikv.methods.map((method) => [method.name, method]));
  const fields = new Map(
    tikv.BatchCommandsRequest_RequestSchema.fields.map((field) => [field.number, field]),
  );
  for (const { name, batchTag } of all) {
    if (batchTag === undefined || name === "Empty") continue;
    assert.equal(fields.get(batchTag)?.message?.typeName, methods.get(name)?.input.typeName, name);
    fields.delete(batchTag);
  }
  // What is left is the import of SST files and the empty command, which is no method.
  assert.deepEqual([...fields.values()].map(({ name }) => name), ["Import", "Empty"]);
});

test("[RPC-009] what TiKV takes alone only has no tag", () => {
  const alone: CommandName[] = [
    "RawGetKeyTTL",
    "RawCompareAndSwap",
    "RawChecksum",
    "UnsafeDestroyRange",
    "RegisterLockObserver",
    "CheckLockObserver",
    "RemoveLockObserver",
    "PhysicalScanLock",
    "GetStoreSafeTS",
    "GetLockWaitInfo",
    "MvccGetByKey",
    "MvccGetByStartTs",
    "SplitRegion",
    "Compact",
  ];
  assert.deepEqual(all.filter(({ batchTag }) => batchTag === undefined).map(({ name }) => name), alone);
});

test("[RPC-029] the context is field 1 of every request but those to a store as a whole", () => {
  const bare = all.filter(({ hasContext }) => !hasContext).map(({ name }) => name);
  assert.deepEqual(bare, ["GetStoreSafeTS", "Compact", "Empty"]);
});

test("[RPC-031] whatever changes data is a write; only what cannot be repeated says so", () => {
  const reads: CommandName[] = all.filter(({ isWrite }) => !isWrite).map(({ name }) => name);
  assert.deepEqual(reads.sort(), [
    "CheckLockObserver",
    "Coprocessor",
    "Empty",
    "GetHealthFeedback",
    "GetLockWaitInfo",
    "GetStoreSafeTS",
    "KvBatchGet",
    "KvBufferBatchGet",
    "KvGet",
    "KvScan",
    "KvScanLock",
    "MvccGetByKey",
    "MvccGetByStartTs",
    "PhysicalScanLock",
    "RawBatchGet",
    "RawBatchScan",
    "RawChecksum",
    "RawGet",
    "RawGetKeyTTL",
    "RawScan",
  ]);
  assert.deepEqual(all.filter(({ isIdempotent }) => !isIdempotent).map(({ name }) => name), [
    "RawCoprocessor",
    "RawCompareAndSwap",
  ]);
});

test("a command of generated code encodes its body without a context and keeps no bytes of its reply", () => {
  const command = COMMANDS.RawCompareAndSwap;
  const bodies = arbitraryMessage(kvrpc.RawCASRequestSchema, { without: ["context"] });
  fc.assert(fc.property(bodies, arbitraryMessage(kvrpc.RawCASResponseSchema), (body, reply) => {
    const bytes = toBinary(kvrpc.RawCASRequestSchema, body as kvrpc.RawCASRequest);
    assert.deepEqual(command.encode(body as kvrpc.RawCASRequest), bytes);
    const given = toBinary(kvrpc.RawCASResponseSchema, reply as kvrpc.RawCASResponse);
    const expected = plain(fromBinary(kvrpc.RawCASResponseSchema, given.slice()));
    const decoded = command.decode(given);
    given.fill(0);
    assert.deepEqual(plain(decoded), expected);
  }));
});
