// SPDX-License-Identifier: Apache-2.0
// A stream whose peer has changed its window is replaced: Bun miscounts the room of the old one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BatchCommandsRequestSchema, BatchCommandsResponseSchema } from "../../../../gen/tikvpb_pb.ts";
import { Deadline } from "../../../../src/async/deadline.ts";
import { BatchLanes } from "../../../../src/rpc/batch/lane.ts";
import { COMMANDS } from "../../../../src/rpc/commands.ts";
import type { StreamHandlers, Transport } from "../../../../src/rpc/transport.ts";
import { ManualClock } from "../../../../src/testing/manual_clock.ts";
import type { Command } from "../../../../src/rpc/commands.ts";
import { TikvError } from "../../../../src/errors.ts";

interface Stream {
  readonly handlers: StreamHandlers;
  readonly ids: bigint[];
  state: "open" | "ended" | "cancelled";
}

interface Setup {
  readonly clock: ManualClock;
  readonly lanes: BatchLanes;
  readonly streams: Stream[];
  get(timeoutMs?: number): Promise<unknown>;
  answer(stream: Stream): void;
}

function setUp(): Setup {
  const clock = new ManualClock();
  const streams: Stream[] = [];
  const transport: Pick<Transport, "stream"> = {
    stream: (_endpoint, _path, handlers) => {
      const stream: Stream = { handlers, ids: [], state: "open" };
      streams.push(stream);
      return {
        send: (message) => {
          stream.ids.push(...fromBinary(BatchCommandsRequestSchema, message).requestIds);
          return true;
        },
        end: () => {
          stream.state = "ended";
        },
        cancel: () => {
          stream.state = "cancelled";
        },
      };
    },
  };
  const lanes = new BatchLanes({ address: "store:1", transport: transport as Transport, clock }, {
    lanes: 1,
    maxBatchSize: 128,
    maxInFlight: 1000,
    maxQueuedBytes: 1_000_000,
    maxMessageBytes: 1_000_000,
  }, {
    onAnswers: () => {},
    onUnknownId: (id) => assert.fail(`nobody knows ${id}`),
    onSettled: () => {},
    onUnimplemented: () => assert.fail("batches are supported"),
    onTooLarge: () => assert.fail("nothing is too large"),
  });
  const command = COMMANDS.RawGet as Command<unknown, unknown>;
  return {
    clock,
    lanes,
    streams,
    get: (timeoutMs = 1000) =>
      new Promise((resolve, reject) => {
        const deadline = Deadline.after(clock, timeoutMs);
        const body = COMMANDS.RawGet.encode({ key: new Uint8Array(1) });
        const request = {
          command,
          context: new Uint8Array(0),
          body,
          deadline,
          priority: 0,
          forwardedHost: undefined,
        };
        lanes.submit(request, resolve, reject);
      }),
    answer: ({ handlers, ids }) => {
      const responses = ids.map(() => ({ cmd: { case: "RawGet" as const, value: {} } }));
      const message = create(BatchCommandsResponseSchema, { requestIds: ids.splice(0), responses });
      handlers.onMessage(toBinary(BatchCommandsResponseSchema, message));
    },
  };
}

test("an outdated stream carries on what it has, new commands go to its successor, and it ends with its last one", async () => {
  const { clock, lanes, streams, get, answer } = setUp();
  const before = get();
  await clock.advance(0);
  const [old] = streams;
  assert.ok(old !== undefined);
  old.handlers.onOutdated?.();
  old.handlers.onOutdated?.();
  const after = get();
  await clock.advance(0);
  assert.equal(streams.length, 2);
  assert.deepEqual([lanes.inFlight, lanes.openStreams, old.state], [2, 2, "open"]);
  answer(old);
  await before;
  assert.equal(old.state, "ended");
  answer(streams[1] ?? assert.fail());
  await after;
  old.handlers.onClose({ code: 0, message: "", trailers: {}, origin: "peer", isMaybeExecuted: true });
  assert.deepEqual([lanes.inFlight, lanes.openStreams, lanes.live, clock.pendingTimers], [0, 1, 0, 0]);
});

test("an outdated stream with nothing to carry ends at once", async () => {
  const { clock, streams, get, answer } = setUp();
  const first = get();
  await clock.advance(0);
  const [old] = streams;
  assert.ok(old !== undefined);
  answer(old);
  await first;
  old.handlers.onOutdated?.();
  assert.equal(old.state, "ended");
});

test("an outdated stream that is stuck is cancelled when its last command has run out of time", async () => {
  const { clock, streams, get } = setUp();
  const stuck = get(50);
  const failed = assert.rejects(stuck, (error) => TikvError.is(error) && error.kind === "timeout");
  await clock.advance(0);
  const [old] = streams;
  assert.ok(old !== undefined);
  old.handlers.onOutdated?.();
  assert.equal(old.state, "open");
  await clock.advance(60);
  await failed;
  assert.equal(old.state, "cancelled");
});

test("close() ends outdated streams too", async () => {
  const { clock, lanes, streams, get } = setUp();
  const pending = assert.rejects(get(), (error) => TikvError.is(error) && error.kind === "closed");
  await clock.advance(0);
  streams[0]?.handlers.onOutdated?.();
  lanes.close(new TikvError("closed", "the client is closed"));
  await pending;
  assert.equal(streams[0]?.state, "cancelled");
  assert.equal(lanes.live, 0);
});
