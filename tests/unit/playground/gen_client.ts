// SPDX-License-Identifier: Apache-2.0
// Calls on generated messages and nothing else, so that these tests share no code with the client.

import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Context } from "../../../gen/kvrpcpb_pb.ts";
import { ContextSchema } from "../../../gen/kvrpcpb_pb.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import type { Playground, Region } from "../../../src/playground/mod.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import type { Metadata, Transport, WireStatus, WireStream } from "../../../src/rpc/transport.ts";

const clock = new ManualClock();

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}

/** One unary call. */
export async function unary<I extends DescMessage, O extends DescMessage>(
  transport: Transport,
  address: string,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  metadata: Metadata = {},
): Promise<MessageShape<O>> {
  const path = `/${method.parent.typeName}/${method.name}`;
  const kind = address.startsWith("pd") ? "pd" as const : "store" as const;
  const message = toBinary(method.input, create(method.input, request));
  const options = { deadline: Deadline.never(clock), metadata };
  const reply = await transport.unary({ address, kind }, path, message, options);
  return fromBinary(method.output, reply.message);
}

/** A stream whose messages are kept. */
export interface OpenStream<I extends DescMessage, O extends DescMessage> {
  send(request: MessageInitShape<I>): void;
  readonly wire: WireStream;
  readonly replies: MessageShape<O>[];
  /** Settles when the call is over. */
  readonly closed: Promise<WireStatus>;
  /** Resolves when there are this many replies, or the call is over. */
  until(count: number): Promise<MessageShape<O>[]>;
}

/** Opens a stream of a method. */
export function openStream<I extends DescMessage, O extends DescMessage>(
  transport: Transport,
  address: string,
  method: {
    readonly parent: { readonly typeName: string };
    readonly name: string;
    readonly input: I;
    readonly output: O;
  },
  metadata: Metadata = {},
): OpenStream<I, O> {
  const replies: MessageShape<O>[] = [];
  const waiters: { readonly count: number; readonly resolve: () => void }[] = [];
  let isClosed = false;
  const check = (): void => {
    for (const waiter of waiters) if (isClosed || replies.length >= waiter.count) waiter.resolve();
  };
  let onClosed: (status: WireStatus) => void = () => {};
  const closed = new Promise<WireStatus>((resolve) => {
    onClosed = resolve;
  });
  const wire = transport.stream({ address, kind: "store" }, `/${method.parent.typeName}/${method.name}`, {
    onMessage: (message) => {
      replies.push(fromBinary(method.output, message));
      check();
    },
    onClose: (status) => {
      isClosed = true;
      onClosed(status);
      check();
    },
  }, { deadline: Deadline.never(clock), metadata });
  return {
    send: (request) => {
      wire.send(toBinary(method.input, create(method.input, request)));
    },
    wire,
    replies,
    closed,
    until: async (count) => {
      if (replies.length < count && !isClosed) {
        await new Promise<void>((resolve) => waiters.push({ count, resolve }));
      }
      return replies;
    },
  };
}

/** The Context with which the leader of a region accepts a request. */
export function contextFor(region: Region, changes: Omit<Partial<Context>, "$typeName"> = {}): Context {
  const { leader } = region;
  if (leader === undefined) throw new Error(`region ${region.id} has no leader`);
  const context = create(ContextSchema, {
    regionId: region.id,
    regionEpoch: { confVer: region.confVer, version: region.version },
    peer: { id: leader.id, storeId: leader.storeId },
  });
  return Object.assign(context, changes);
}

/** The address of the store that leads a region. */
export function leaderAddress(cluster: Playground, region: Region): string {
  const store = cluster.stores().find(({ id }) => id === region.leader?.storeId);
  if (store === undefined) throw new Error(`region ${region.id} has no leader`);
  return store.address;
}
