// SPDX-License-Identifier: Apache-2.0
// The hot messages by hand against the generated code, in every field, both ways.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import * as kvrpc from "../../../../gen/kvrpcpb_pb.ts";
import { concatBytes } from "../../../../src/bytes/concat.ts";
import { Reader } from "../../../../src/bytes/reader.ts";
import { type Command, type CommandName, COMMANDS } from "../../../../src/rpc/commands.ts";
import type { DetailedReply } from "../../../../src/rpc/batch/messages.ts";
import { execDetailsOf } from "../../../../src/rpc/batch/wire_txn.ts";
import { arbitraryMessage, plain, unknownFields } from "../../../helpers/arbitrary_message.ts";
import { throwsKind } from "../../../helpers/throws_kind.ts";

const HOT: Partial<Record<CommandName, readonly [DescMessage, DescMessage]>> = {
  KvGet: [kvrpc.GetRequestSchema, kvrpc.GetResponseSchema],
  KvBatchGet: [kvrpc.BatchGetRequestSchema, kvrpc.BatchGetResponseSchema],
  KvScan: [kvrpc.ScanRequestSchema, kvrpc.ScanResponseSchema],
  KvPrewrite: [kvrpc.PrewriteRequestSchema, kvrpc.PrewriteResponseSchema],
  KvCommit: [kvrpc.CommitRequestSchema, kvrpc.CommitResponseSchema],
  KvPessimisticLock: [kvrpc.PessimisticLockRequestSchema, kvrpc.PessimisticLockResponseSchema],
  RawGet: [kvrpc.RawGetRequestSchema, kvrpc.RawGetResponseSchema],
  RawPut: [kvrpc.RawPutRequestSchema, kvrpc.RawPutResponseSchema],
  RawDelete: [kvrpc.RawDeleteRequestSchema, kvrpc.RawDeleteResponseSchema],
  RawBatchGet: [kvrpc.RawBatchGetRequestSchema, kvrpc.RawBatchGetResponseSchema],
  RawBatchPut: [kvrpc.RawBatchPutRequestSchema, kvrpc.RawBatchPutResponseSchema],
  RawBatchDelete: [kvrpc.RawBatchDeleteRequestSchema, kvrpc.RawBatchDeleteResponseSchema],
  RawScan: [kvrpc.RawScanRequestSchema, kvrpc.RawScanResponseSchema],
};

const hot = Object.entries(HOT).map(([name, [request, reply]]) => ({
  command: COMMANDS[name as CommandName] as Command<unknown, unknown>,
  request,
  reply,
}));

// Pairs in a request have no error and no commit timestamp: those are for replies only.
function asBody(message: Message): Message {
  for (const pair of (message as { pairs?: Partial<kvrpc.KvPair>[] }).pairs ?? []) {
    delete pair.error;
    pair.commitTs = 0n;
  }
  return message;
}

test("[RPC-033] every hot command is read and written by hand", () => {
  const byHand = Object.values(COMMANDS).filter(({ decodeFrom }) => decodeFrom !== undefined);
  assert.deepEqual(byHand.map(({ name }) => name).sort(), Object.keys(HOT).sort());
});

for (const { command, request, reply } of hot) {
  test(`[RPC-033] encode() of ${command.name} writes the bytes of the generated code`, () => {
    const bodies = arbitraryMessage(request, { without: ["context"] }).map(asBody);
    fc.assert(fc.property(bodies, (body) => {
      assert.deepEqual(command.encode(body), toBinary(request, body));
    }));
  });

  test(`decode() of ${command.name} reads what the generated code writes, unknown fields aside`, () => {
    fc.assert(fc.property(arbitraryMessage(reply), unknownFields, unknownFields, (message, before, after) => {
      const bytes = concatBytes(before, toBinary(reply, message), after);
      // The bytes are zeroed afterwards: whatever is kept of them has to be a copy.
      const given = bytes.slice();
      const decoded = command.decode(given);
      given.fill(0);
      const details = execDetailsOf(decoded as DetailedReply);
      const seen = {
        ...(decoded as Record<string, unknown>),
        execDetailsV2: details,
        execDetailsV2Bytes: undefined,
      };
      assert.deepEqual(plain(seen), plain(fromBinary(reply, bytes)));
    }));
  });

  test(`decodeFrom() of ${command.name} stays within its message`, () => {
    fc.assert(fc.property(arbitraryMessage(reply), (message) => {
      const bytes = toBinary(reply, message);
      const reader = new Reader(concatBytes(new Uint8Array(3), bytes, new Uint8Array([0xff, 0xff])));
      reader.pos = 3;
      reader.end = 3 + bytes.length;
      assert.deepEqual(command.decodeFrom?.(reader), command.decode(bytes));
      assert.equal(reader.pos, 3 + bytes.length);
    }));
  });

  test(`decode() of ${command.name} refuses what is cut off, as a protocol error`, () => {
    fc.assert(fc.property(arbitraryMessage(reply, { depth: 1 }), fc.nat(), (message, at) => {
      const bytes = toBinary(reply, message);
      const cut = bytes.subarray(0, at % (bytes.length + 1));
      try {
        command.decode(cut);
      } catch (error) {
        // Nested errors are read by the generated code, which throws its own; the caller wraps it.
        if (!(error instanceof RangeError)) throwsKind(() => command.decode(cut), "protocol");
      }
    }));
  });
}

test("encode() refuses numbers that do not fit, and the next body is not touched by it", () => {
  const body = { startKey: new Uint8Array(5), limit: -1 };
  assert.throws(() => COMMANDS.RawScan.encode(body), RangeError);
  assert.throws(() => COMMANDS.RawScan.encode({ ...body, limit: 2 ** 32 }), RangeError);
  assert.throws(() => COMMANDS.KvGet.encode({ key: new Uint8Array(5), version: -1n }), RangeError);
  assert.deepEqual(COMMANDS.RawGet.encode({ key: new Uint8Array([7]) }), new Uint8Array([0x12, 1, 7]));
});

test("encode() gives bytes that later bodies do not change", () => {
  const first = COMMANDS.RawGet.encode({ key: new Uint8Array([1]) });
  for (let index = 0; index < 10_000; index++) {
    COMMANDS.RawGet.encode({ key: new Uint8Array([index & 0xff]) });
  }
  assert.deepEqual(first, new Uint8Array([0x12, 1, 1]));
});
