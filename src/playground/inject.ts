// SPDX-License-Identifier: Apache-2.0
// Carries out one call, or one command of a batch, the way the fault rules want it.

import type { DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { GRPC } from "../rpc/grpc_status.ts";
import type { ServerStatus } from "../rpc/server.ts";
import type { Cluster } from "./cluster.ts";
import type { FaultEffect, FaultTarget } from "./faults.ts";
import { statusOf } from "./service_table.ts";
import { textRefusal } from "./store_refusal.ts";

/** Where the answer of a call goes. */
export interface ReplyPort {
  reply(message: Message): void;
  /** Sends something that nobody can decode. */
  corrupt(): void;
  /** Answers under a wrong id, where answers have one. */
  misaddress(message: Message): void;
  /** Ends the whole call with a status. */
  end(status: ServerStatus): void;
  /** Loses the connection. */
  cut(): void;
}

/** A call that is about to be carried out. */
export interface Delivery {
  readonly target: () => FaultTarget;
  readonly output: DescMessage;
  readonly port: ReplyPort;
  execute(): Message | Promise<Message>;
}

/** Executes and answers, or does what a fault says instead. */
export function deliver(cluster: Cluster, delivery: Delivery): void {
  const plan = cluster.faults.plan(delivery.target);
  if (plan === undefined) return execute(delivery, (reply) => delivery.port.reply(reply));
  const act = (): void => perform(cluster, delivery, plan.effect);
  if (plan.delayMs > 0) cluster.after(plan.delayMs, act);
  else act();
}

function perform(cluster: Cluster, delivery: Delivery, effect: FaultEffect | undefined): void {
  const { output, port } = delivery;
  switch (effect?.type) {
    case undefined:
    case "delay":
      return execute(delivery, (reply) => port.reply(reply));
    case "region-error": {
      const error = typeof effect.error === "function" ? effect.error(delivery.target()) : effect.error;
      return port.reply(create(output, { regionError: error } as MessageInitShape<DescMessage>));
    }
    case "request-error":
      return port.reply(textRefusal(output, effect.message));
    case "pd-error": {
      const header = { clusterId: cluster.clusterId, error: { type: effect.code, message: effect.message } };
      return port.reply(create(output, { header } as MessageInitShape<DescMessage>));
    }
    case "status":
      return finish(
        delivery,
        effect.isExecuted,
        () => port.end({ code: effect.code, message: effect.message }),
      );
    case "drop-request":
      return;
    case "drop-reply":
      return execute(delivery, () => {});
    case "cut":
      return finish(delivery, effect.isExecuted, () => port.cut());
    case "duplicate":
      return execute(delivery, (first) => {
        port.reply(first);
        execute(delivery, (second) => port.reply(second));
      });
    case "corrupt":
      return execute(delivery, () => port.corrupt());
    case "pad":
      return execute(delivery, (reply) => port.reply(padded(reply, effect.bytes)));
    case "unknown-id":
      return execute(delivery, (reply) => port.misaddress(reply));
  }
}

function finish(delivery: Delivery, isExecuted: boolean, then: () => void): void {
  if (isExecuted) execute(delivery, then);
  else then();
}

function execute(delivery: Delivery, then: (reply: Message) => void): void {
  try {
    const reply = delivery.execute();
    if (reply instanceof Promise) {
      reply.then(then).catch((error: unknown) => delivery.port.end(statusOf(error)));
    } else then(reply);
  } catch (error) {
    delivery.port.end(statusOf(error));
  }
}

/** A number that no message of the protocol uses for a field. */
const PADDING_FIELD = 100_000;
const LENGTH_DELIMITED = 2;

function padded(reply: Message, bytes: number): Message {
  const length = bytes < 0x80 ? [bytes] : varint(bytes);
  const data = new Uint8Array(length.length + bytes);
  data.set(length);
  reply.$unknown = [...reply.$unknown ?? [], { no: PADDING_FIELD, wireType: LENGTH_DELIMITED, data }];
  return reply;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return bytes;
}

/** A port for a call of its own, with an encoder for its answer. */
export function unaryPort(
  call: { send(message: Uint8Array): boolean; end(status?: ServerStatus): void },
  encode: (message: Message) => Uint8Array,
  cut: () => void,
): ReplyPort {
  const reply = (message: Message): void => {
    call.send(encode(message));
    call.end();
  };
  return {
    reply,
    corrupt: () => {
      call.send(CORRUPT);
      call.end();
    },
    misaddress: reply,
    end: (status) => call.end(status),
    cut: () => {
      cut();
      // Where a single connection cannot be cut, the call at least ends as if it had been.
      call.end(LOST);
    },
  };
}

/** Bytes of an unfinished tag, which no message begins with. */
export const CORRUPT: Uint8Array = new Uint8Array([0xff]);

/** How a call ends where a single connection cannot be cut. */
export const LOST: ServerStatus = { code: GRPC.UNAVAILABLE, message: "the connection was lost" };
