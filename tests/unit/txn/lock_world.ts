// SPDX-License-Identifier: Apache-2.0
// Clients on a playground whose requests a test can look at, and what is locked in the cluster.

import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import type { ClientParts } from "../../../src/client/parts.ts";
import type { ClientOptions } from "../../../src/client_options.ts";
import type { ClientEvent } from "../../../src/observe/events.ts";
import { sendToKey } from "../../../src/plan/dispatch.ts";
import type { PessimisticLockBody, PrewriteBody } from "../../../src/rpc/batch/messages.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";
import type { Transactions } from "../../../src/txn/begin.ts";
import type { Transaction } from "../../../src/txn/mod.ts";
import type { World } from "./txn_world.ts";

/** One attempt of a request. */
export interface Sent {
  readonly method: string;
  readonly body: unknown;
}

/** Bodies of the requests that are looked at most. */
interface Bodies {
  readonly KvPessimisticLock: PessimisticLockBody;
  readonly KVPessimisticRollback: {
    readonly startVersion: bigint;
    readonly forUpdateTs: bigint;
    readonly keys: readonly Uint8Array[];
  };
  readonly KvPrewrite: PrewriteBody;
  readonly KvTxnHeartBeat: {
    readonly primaryLock: Uint8Array;
    readonly startVersion: bigint;
    readonly adviseLockTtl: bigint;
  };
}

/** A client with what it has sent. */
export interface Watched {
  readonly parts: ClientParts;
  readonly txns: Transactions;
  readonly events: ClientEvent[];
  /** Everything that was sent to stores, in order. */
  readonly sent: Sent[];
  /** The bodies of one kind of request. */
  bodies<M extends keyof Bodies>(method: M): Bodies[M][];
}

/** Opens a client that is looked at. */
export async function openWatched(world: World, options: ClientOptions = {}): Promise<Watched> {
  const sent: Sent[] = [];
  const events: ClientEvent[] = [];
  const opened = await world.open({
    observe: (event) => events.push(event),
    ...options,
    interceptors: [(call, next) => {
      sent.push({ method: call.method, body: call.request });
      return next(call);
    }, ...options.interceptors ?? []],
  });
  return {
    ...opened,
    events,
    sent,
    bodies: (method) => sent.filter((one) => one.method === method).map(({ body }) => body as never),
  };
}

/** Puts values as a transaction of their own. */
export async function seed(
  { clock }: World,
  { txns }: Pick<Watched, "txns">,
  entries: Readonly<Record<string, string>>,
): Promise<void> {
  await clock.run(txns.run((txn) => {
    for (const [key, value] of Object.entries(entries)) txn.put(key, value);
  }));
  await clock.advance(100);
}

/** What a new transaction reads. */
export async function valueOf(
  { clock }: World,
  { txns }: Pick<Watched, "txns">,
  key: string,
): Promise<string | undefined> {
  return text(await clock.run(txns.run((txn) => txn.get(key))));
}

export function begin(
  { clock }: World,
  { txns }: Pick<Watched, "txns">,
  options: Parameters<Transactions["begin"]>[0] = {},
): Promise<Transaction> {
  return clock.run(txns.begin({ mode: "pessimistic", ...options }));
}

/** The locks in the regions of some keys, as `key@startTs`; what is shared with all who share it. */
export async function locksIn(
  { clock }: World,
  { parts }: Pick<Watched, "parts">,
  regionsOf: readonly string[] = ["a"],
): Promise<string[]> {
  const { session } = parts.txn();
  const found: string[] = [];
  for (const key of regionsOf) {
    const operation = new Operation("test", {
      deadline: Deadline.after(clock, 10_000),
      environment: session.settings.environment,
    });
    const request = session.routing.sender.request(COMMANDS.KvScanLock, {
      maxVersion: await clock.run(session.oracle.timestamp(operation)),
      startKey: new Uint8Array(),
      endKey: new Uint8Array(),
      limit: 100,
    } as never);
    const reply = await clock.run(
      sendToKey(session.routing, utf8Encode(key), { request, operation }),
    );
    for (const lock of reply.locks) {
      const all = lock.sharedLockInfos.length > 0 ? lock.sharedLockInfos : [lock];
      for (const one of all) found.push(`${utf8Decode(lock.key)}@${one.lockVersion}`);
    }
  }
  return found;
}

/** Bytes as text; undefined stays. */
export function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : utf8Decode(bytes);
}

/** The keys of a request for locks. */
export function keysOf({ mutations }: PessimisticLockBody): string[] {
  return mutations.map(({ key }) => utf8Decode(key));
}
