// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import * as fc from "fast-check";
import * as kvrpc from "../../../../gen/kvrpcpb_pb.ts";
import * as tikv from "../../../../gen/tikvpb_pb.ts";
import { concatBytes } from "../../../../src/bytes/concat.ts";
import { Reader } from "../../../../src/bytes/reader.ts";
import { Writer } from "../../../../src/bytes/writer.ts";
import {
  BatchAnswers,
  messageSize,
  readHealthReport,
  wholeMessage,
  writeBatchRequest,
} from "../../../../src/rpc/batch/wire.ts";
import { arbitraryMessage, unknownFields } from "../../../helpers/arbitrary_message.ts";
import { throwsKind } from "../../../helpers/throws_kind.ts";

const ids = fc.oneof(fc.constantFrom(1, 127, 128, 2 ** 32, 2 ** 53 - 1), fc.maxSafeNat());
const envelopes = fc.constantFrom(...tikv.BatchCommandsRequest_RequestSchema.fields);

const requests = fc.array(
  envelopes.chain((field) => {
    assert.ok(field.message !== undefined);
    return fc.record({
      id: ids,
      field: fc.constant(field),
      message: arbitraryMessage(field.message, { without: ["context"], depth: 1 }),
      context: fc.option(arbitraryMessage(kvrpc.ContextSchema, { depth: 1 }), { nil: undefined }),
    });
  }),
  { maxLength: 6 },
);

test("[RPC-014] a batch is written as the generated code writes it, for every command", () => {
  const writer = new Writer();
  fc.assert(fc.property(requests, fc.constantFrom(0, 1_790_000_000_123), (items, wallMs) => {
    const message = create(tikv.BatchCommandsRequestSchema, {
      requests: items.map(({ field, message, context }) => {
        const hasContext = field.message?.fields[0]?.localName === "context";
        const value = { ...message, ...(hasContext && context !== undefined ? { context } : {}) };
        return { cmd: { case: field.localName, value } } as never;
      }),
      requestIds: items.map(({ id }) => BigInt(id)),
      clientSendTimeNs: BigInt(wallMs) * 1_000_000n,
    });
    const written = writeBatchRequest(
      writer,
      items.map(({ id, field, message, context }) => ({
        id,
        tag: field.number,
        context: field.message?.fields[0]?.localName === "context" && context !== undefined
          ? toBinary(kvrpc.ContextSchema, context as kvrpc.Context)
          : new Uint8Array(),
        body: field.message === undefined ? new Uint8Array() : toBinary(field.message, message),
      })),
      wallMs,
    );
    // An empty context is no context: the generated code would write its tag and a zero.
    if (
      items.some(({ context }) =>
        context !== undefined && toBinary(kvrpc.ContextSchema, context as never).length === 0
      )
    ) {
      return;
    }
    assert.deepEqual(written, toBinary(tikv.BatchCommandsRequestSchema, message));
  }));
});

test("wholeMessage() puts the context in front of the body", () => {
  const requests = arbitraryMessage(kvrpc.RawGetRequestSchema);
  fc.assert(fc.property(requests, (message) => {
    const { context, ...body } = message as kvrpc.RawGetRequest;
    const contextBytes = context === undefined ? new Uint8Array() : toBinary(kvrpc.ContextSchema, context);
    const bodyBytes = toBinary(kvrpc.RawGetRequestSchema, create(kvrpc.RawGetRequestSchema, body as never));
    const whole = wholeMessage(contextBytes, bodyBytes);
    assert.equal(whole.length, messageSize(contextBytes, bodyBytes));
    if (context === undefined || contextBytes.length > 0) {
      assert.deepEqual(whole, toBinary(kvrpc.RawGetRequestSchema, message as kvrpc.RawGetRequest));
    }
  }));
});

function read(bytes: Uint8Array, answers: BatchAnswers = new BatchAnswers()): BatchAnswers {
  answers.read(new Reader(bytes));
  return answers;
}

test("[RPC-014] the answers of a batch are found where the generated code put them", () => {
  const shape = fc.array(
    fc.tuple(ids, arbitraryMessage(tikv.BatchCommandsResponse_ResponseSchema, { depth: 2 })),
  );
  const health = fc.option(arbitraryMessage(kvrpc.HealthFeedbackSchema), { nil: undefined });
  const answers = new BatchAnswers();
  fc.assert(fc.property(shape, health, fc.nat(), unknownFields, (pairs, health, load, unknown) => {
    const message = create(tikv.BatchCommandsResponseSchema, {
      responses: pairs.map(([, response]) => response as tikv.BatchCommandsResponse_Response),
      requestIds: pairs.map(([id]) => BigInt(id)),
      transportLayerLoad: BigInt(load),
      tikvSendTimeNs: 2n ** 63n,
      ...(health === undefined ? {} : { healthFeedback: health as kvrpc.HealthFeedback }),
    });
    const bytes = concatBytes(unknown, toBinary(tikv.BatchCommandsResponseSchema, message), unknown);
    read(bytes, answers);
    assert.equal(answers.count, pairs.length);
    assert.equal(answers.transportLayerLoad, load);
    for (const [index, [id, response]] of pairs.entries()) {
      assert.equal(answers.ids[index], id);
      const found = bytes.subarray(answers.starts[index], answers.ends[index]);
      assert.deepEqual(found, toBinary(tikv.BatchCommandsResponse_ResponseSchema, response as never));
    }
    assert.equal(answers.health === undefined, health === undefined);
    if (answers.health !== undefined) {
      const { storeId, feedbackSeqNo, slowScore } = fromBinary(kvrpc.HealthFeedbackSchema, answers.health);
      const report = { storeId, sequence: feedbackSeqNo, slowScore };
      assert.deepEqual(readHealthReport(answers.health), report);
    }
  }));
});

const responses = (count: number): BinaryWriter => {
  const writer = new BinaryWriter();
  for (let index = 0; index < count; index++) writer.tag(1, WireType.LengthDelimited).bytes(new Uint8Array());
  return writer;
};

test("ids are read packed and one by one", () => {
  const bytes = responses(2).tag(2, WireType.Varint).uint64(7n).tag(2, WireType.Varint).uint64(300n).finish();
  const answers = read(bytes);
  assert.deepEqual([answers.count, answers.ids.slice(0, 2)], [2, [7, 300]]);
});

test("an id above 2^53 is a protocol error, not another command's id", () => {
  for (const id of [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
    const packed = responses(1).tag(2, WireType.LengthDelimited).bytes(
      new BinaryWriter().uint64(id).finish(),
    );
    throwsKind(() => read(packed.finish()), "protocol");
    throwsKind(() => read(responses(1).tag(2, WireType.Varint).uint64(id).finish()), "protocol");
  }
});

test("another number of ids than of answers is a protocol error", () => {
  throwsKind(() => read(responses(2).tag(2, WireType.Varint).uint64(7n).finish()), "protocol");
  throwsKind(() => read(responses(0).tag(2, WireType.Varint).uint64(7n).finish()), "protocol");
});

test("a batch that is cut off is a protocol error", () => {
  const bytes = responses(1).tag(2, WireType.LengthDelimited).bytes(new Uint8Array([1])).finish();
  for (let length = 1; length < bytes.length; length++) {
    throwsKind(() => read(bytes.subarray(0, length)), "protocol", `cut at ${length}`);
  }
});

test("nothing of one message is seen in the next", () => {
  const answers = read(
    responses(3).tag(2, WireType.LengthDelimited).bytes(new Uint8Array([1, 2, 3])).tag(3, WireType.Varint)
      .uint64(9n)
      .tag(4, WireType.LengthDelimited).bytes(new Uint8Array([8, 1])).finish(),
  );
  assert.deepEqual([answers.count, answers.transportLayerLoad, answers.health?.length], [3, 9, 2]);
  read(new Uint8Array(), answers);
  assert.deepEqual([answers.count, answers.transportLayerLoad, answers.health], [0, 0, undefined]);
});
