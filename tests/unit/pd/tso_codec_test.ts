// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { TsoRequestSchema, TsoResponseSchema } from "../../../gen/pdpb_pb.ts";
import { decodeTsoResponse, encodeTsoRequest } from "../../../src/pd/tso_codec.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

function u64(random: SeededRandom): bigint {
  const bits = random.int(65);
  let value = 0n;
  for (let bit = 0; bit < bits; bit++) value = value << 1n | BigInt(random.int(2));
  return value;
}

test("encodeTsoRequest() writes what the generated code writes", () => {
  const random = new SeededRandom(1);
  for (let n = 0; n < 300; n++) {
    const header = { clusterId: u64(random), callerId: random.pick(["", "tikv", "ä".repeat(80)]) };
    const count = random.pick([0, 1, 127, 128, 10_000, 0xffff_ffff]);
    const expected = toBinary(TsoRequestSchema, create(TsoRequestSchema, { header, count }));
    assert.deepEqual(encodeTsoRequest(header, count), expected);
    assert.equal(fromBinary(TsoRequestSchema, encodeTsoRequest(header, count)).count, count);
  }
});

test("decodeTsoResponse() reads what the generated code reads, unknown fields included", () => {
  const random = new SeededRandom(2);
  for (let n = 0; n < 300; n++) {
    const hasError = random.int(2) === 0;
    const reply = create(TsoResponseSchema, {
      header: {
        clusterId: u64(random),
        ...(hasError ? { error: { type: random.int(13) as 1, message: random.pick(["", "no", "nö"]) } } : {}),
      },
      count: random.pick([0, 1, 300, 0xffff_ffff]),
      timestamp: {
        physical: BigInt.asIntN(64, u64(random)),
        logical: BigInt.asIntN(64, u64(random)),
        suffixBits: random.int(20),
      },
    });
    const unknown = Uint8Array.of(0xfa, 0x06, 0x03, 1, 2, 3, 0xf5, 0x06, 1, 2, 3, 4);
    const bytes = Uint8Array.from([...unknown, ...toBinary(TsoResponseSchema, reply), ...unknown]);
    const error = reply.header?.error;
    assert.deepEqual(decodeTsoResponse(bytes), {
      clusterId: reply.header?.clusterId,
      refusal: error === undefined ? undefined : { type: error.type, message: error.message },
      count: reply.count,
      physicalMs: reply.timestamp?.physical,
      logical: reply.timestamp?.logical,
      suffixBits: reply.timestamp?.suffixBits,
    });
  }
});

test("decodeTsoResponse() takes an empty message for one of zeros, and refuses a cut one", () => {
  assert.deepEqual(decodeTsoResponse(new Uint8Array()), {
    clusterId: 0n,
    refusal: undefined,
    count: 0,
    physicalMs: 0n,
    logical: 0n,
    suffixBits: 0,
  });
  const reply = create(TsoResponseSchema, {
    header: { clusterId: 1n },
    count: 1,
    timestamp: { physical: 300n },
  });
  const bytes = toBinary(TsoResponseSchema, reply);
  throwsKind(() => decodeTsoResponse(bytes.subarray(0, bytes.length - 1)), "protocol");
  throwsKind(() => decodeTsoResponse(Uint8Array.of(0x0a, 0x7f)), "protocol");
});
