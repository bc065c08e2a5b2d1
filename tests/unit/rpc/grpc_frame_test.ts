// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeFrame, FrameDecoder, frameHeader } from "../../../src/rpc/grpc_frame.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

function bytesOf(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + seed) & 0xff);
}

function decodeAll(chunks: readonly Uint8Array[], limit: number = 1 << 20): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const decoder = new FrameDecoder(limit, (message) => messages.push(message.slice()));
  for (const chunk of chunks) decoder.push(chunk);
  decoder.finish();
  return messages;
}

test("encodeFrame() writes a zero flag and the length in big endian", () => {
  assert.deepEqual(encodeFrame(Uint8Array.of(7, 8)), Uint8Array.of(0, 0, 0, 0, 2, 7, 8));
  assert.deepEqual(frameHeader(0x01020304), Uint8Array.of(0, 1, 2, 3, 4));
  assert.deepEqual(frameHeader(0xfffffffe), Uint8Array.of(0, 255, 255, 255, 254));
});

test("FrameDecoder finds the same messages wherever the chunks are cut", () => {
  const messages = [bytesOf(0, 1), bytesOf(1, 2), bytesOf(300, 3), bytesOf(0, 4), bytesOf(17, 5)];
  const wire = Uint8Array.from(messages.flatMap((message) => [...encodeFrame(message)]));
  for (let size = 1; size <= wire.length; size++) {
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < wire.length; at += size) chunks.push(wire.slice(at, at + size));
    assert.deepEqual(decodeAll(chunks), messages, `chunks of ${size} bytes`);
  }
});

test("FrameDecoder joins a message that came in pieces into a buffer of its own", () => {
  const seen: Uint8Array[] = [];
  const decoder = new FrameDecoder(100, (message) => seen.push(message));
  const wire = encodeFrame(bytesOf(10, 9));
  const first = wire.slice(0, 8);
  decoder.push(first);
  assert.equal(decoder.pendingBytes, 3);
  first.fill(0);
  decoder.push(wire.slice(8));
  assert.deepEqual(seen, [bytesOf(10, 9)]);
  assert.equal(decoder.pendingBytes, 0);
});

test("FrameDecoder refuses a message over the limit at its header, before it buffers", () => {
  const decoder = new FrameDecoder(10, () => assert.fail("no message expected"));
  throwsKind(() => decoder.push(frameHeader(11)), "too-large");
  assert.equal(decoder.pendingBytes, 0);
  assert.deepEqual(decodeAll([encodeFrame(bytesOf(10, 1))], 10), [bytesOf(10, 1)]);
  // A length with the highest bit set is large, not negative.
  throwsKind(() => new FrameDecoder(10, () => {}).push(Uint8Array.of(0, 255, 255, 255, 255)), "too-large");
});

test("FrameDecoder refuses compressed messages and unknown flags", () => {
  const compressed = encodeFrame(bytesOf(3, 1));
  compressed[0] = 1;
  throwsKind(() => decodeAll([compressed]), "protocol");
  const unknown = encodeFrame(bytesOf(3, 1));
  unknown[0] = 0x80;
  throwsKind(() => decodeAll([unknown]), "protocol");
});

test("FrameDecoder tells when the bytes end inside a frame", () => {
  throwsKind(() => decodeAll([Uint8Array.of(0, 0, 0)]), "protocol");
  throwsKind(() => decodeAll([encodeFrame(bytesOf(5, 1)).slice(0, 7)]), "protocol");
  assert.deepEqual(decodeAll([]), []);
});
