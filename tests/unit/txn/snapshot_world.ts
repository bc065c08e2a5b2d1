// SPDX-License-Identifier: Apache-2.0
// A playground with transactions that others have left behind at any step, and a client that meets them.

import { type KeyError, Op } from "../../../gen/kvrpcpb_pb.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import { assemble, type ClientParts } from "../../../src/client/parts.ts";
import type { ClientOptions } from "../../../src/client_options.ts";
import type { ClientEvent } from "../../../src/observe/events.ts";
import { sendToKey } from "../../../src/plan/dispatch.ts";
import type { InterceptedCall } from "../../../src/observe/interceptor.ts";
import { Playground, type PlaygroundOptions } from "../../../src/playground/mod.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";
import type { Transport } from "../../../src/rpc/transport.ts";
import { resolveSettings } from "../../../src/settings.ts";
import { ManualClock } from "../../../src/testing/mod.ts";
import type { LockResolver } from "../../../src/txn/locks/lock_resolver.ts";
import { openSnapshot, type Snapshot } from "../../../src/txn/snapshot/snapshot.ts";
import type { SnapshotOptions } from "../../../src/txn/snapshot/snapshot_options.ts";
import type { SnapshotParts } from "../../../src/txn/snapshot/snapshot_reads.ts";
import type { TxnSession } from "../../../src/txn/txn_session.ts";
import type { Timestamp } from "../../../src/types.ts";

/** What somebody wrote and did not finish. */
export interface LeftBehind {
  readonly startTs: bigint;
  readonly primary?: string;
  /** Default: 3000. */
  readonly ttlMs?: bigint;
  readonly txnSize?: bigint | undefined;
  /** Makes it an async commit. */
  readonly secondaries?: readonly string[] | undefined;
  readonly minCommitTs?: bigint;
}

/** The cluster, and one client of it. */
export class SnapshotWorld implements AsyncDisposable {
  readonly cluster: Playground;
  readonly clock: ManualClock;
  readonly parts: ClientParts;
  readonly snapshotParts: SnapshotParts;
  /** Attempts of requests, in order. */
  readonly calls: InterceptedCall[];
  readonly events: ClientEvent[];
  readonly ownsCluster: boolean;

  private constructor(
    { cluster, clock, parts, calls, events, ownsCluster }: Pick<
      SnapshotWorld,
      "cluster" | "clock" | "parts" | "calls" | "events" | "ownsCluster"
    >,
  ) {
    this.cluster = cluster;
    this.clock = clock;
    this.parts = parts;
    this.calls = calls;
    this.events = events;
    this.ownsCluster = ownsCluster;
    this.snapshotParts = parts.txn();
  }

  /** Starts a cluster with one client, or another client of the cluster of a world. */
  static async start(
    options: PlaygroundOptions | SnapshotWorld = {},
    own: ClientOptions = {},
    tap: (transport: Transport) => Transport = (transport) => transport,
  ): Promise<SnapshotWorld> {
    const joined = options instanceof SnapshotWorld ? options : undefined;
    const clock = joined?.clock ?? new ManualClock();
    const cluster = joined?.cluster ??
      await Playground.start({ stores: 3, mode: "txn", clock, seed: 1, ...options as PlaygroundOptions });
    const { pd, transport, environment } = cluster.connectOptions();
    const calls: InterceptedCall[] = [];
    const events: ClientEvent[] = [];
    const settings = resolveSettings({
      environment,
      observe: (event) => events.push(event),
      interceptors: [(call, next) => {
        calls.push(call);
        return next(call);
      }],
      ...own,
    });
    const connecting = assemble(
      { endpoints: pd, settings, transport: tap(transport) },
      Deadline.after(clock, 10_000),
    );
    const parts = await clock.run(connecting);
    return new SnapshotWorld({ cluster, clock, calls, events, parts, ownsCluster: joined === undefined });
  }

  get session(): TxnSession {
    return this.parts.txn().session;
  }

  get locks(): LockResolver {
    return this.parts.txn().locks;
  }

  /** Settles a promise by moving the clock as far as it takes. */
  run<T>(promise: Promise<T>): Promise<T> {
    return this.clock.run(promise);
  }

  operation(timeoutMs = 20_000): Operation {
    const { environment, observe: observer } = this.session.settings;
    return new Operation("test", { deadline: Deadline.after(this.clock, timeoutMs), environment, observer });
  }

  ts(): Promise<Timestamp> {
    return this.run(this.parts.pd().timestamp());
  }

  snapshot(options: SnapshotOptions = {}): Promise<Snapshot> {
    return this.run(openSnapshot(this.snapshotParts, options, {
      defaults: {},
      timestamp: (operation) => this.session.oracle.timestamp(operation),
    }));
  }

  /** Writes locks of a transaction, each with the value `<key>@<its name>`. */
  async prewrite(keys: readonly string[], left: LeftBehind): Promise<KeyError[]> {
    const { primary = keys[0] ?? "", ttlMs = 3_000n, txnSize, secondaries, minCommitTs } = left;
    const errors: KeyError[] = [];
    for (const key of keys) {
      const isPrimary = key === primary;
      const request = this.session.routing.sender.request(COMMANDS.KvPrewrite, {
        mutations: [{ op: Op.Put, key: utf8Encode(key), value: utf8Encode(`${key}!`) }],
        primaryLock: utf8Encode(primary),
        startVersion: left.startTs,
        lockTtl: ttlMs,
        txnSize: txnSize ?? BigInt(keys.length),
        useAsyncCommit: secondaries !== undefined,
        secondaries: isPrimary ? secondaries?.map(utf8Encode) : undefined,
        minCommitTs: minCommitTs ?? left.startTs + 1n,
      });
      errors.push(...(await this.#send(key, request)).errors);
    }
    return errors;
  }

  async commit(keys: readonly string[], startTs: bigint, commitTs?: bigint): Promise<bigint> {
    const at = commitTs ?? await this.ts();
    for (const key of keys) {
      const request = this.session.routing.sender.request(COMMANDS.KvCommit, {
        startVersion: startTs,
        keys: [utf8Encode(key)],
        commitVersion: at,
      });
      const { error } = await this.#send(key, request);
      if (error !== undefined) throw new Error(`the commit of ${key} failed`);
    }
    return at;
  }

  async rollBack(keys: readonly string[], startTs: bigint): Promise<void> {
    for (const key of keys) {
      const body = { startVersion: startTs, keys: [utf8Encode(key)] };
      const request = this.session.routing.sender.request(COMMANDS.KvBatchRollback, body);
      const { error } = await this.#send(key, request);
      if (error !== undefined) throw new Error(`the rollback of ${key} failed`);
    }
  }

  /** Writes and commits keys; returns when. */
  async put(...keys: readonly string[]): Promise<bigint> {
    const startTs = await this.ts();
    const [error] = await this.prewrite(keys, { startTs });
    if (error !== undefined) throw new Error("the prewrite failed");
    return await this.commit(keys, startTs);
  }

  async lockPessimistically(
    keys: readonly string[],
    left: LeftBehind & { readonly forUpdateTs?: bigint },
  ): Promise<void> {
    const { primary = keys[0] ?? "", ttlMs = 3_000n, startTs, forUpdateTs = startTs } = left;
    for (const key of keys) {
      const request = this.session.routing.sender.request(COMMANDS.KvPessimisticLock, {
        mutations: [{ op: Op.PessimisticLock, key: utf8Encode(key) }],
        primaryLock: utf8Encode(primary),
        startVersion: startTs,
        lockTtl: ttlMs,
        forUpdateTs,
        waitTimeout: -1n,
      });
      const { errors } = await this.#send(key, request);
      if (errors.length > 0) throw new Error(`cannot lock ${key}`);
    }
  }

  /** The keys that are locked, in their order. */
  async lockedKeys(): Promise<string[]> {
    const keys: string[] = [];
    const { regions } = this.session.routing;
    const operation = this.operation();
    let start: Uint8Array = new Uint8Array(0);
    // Not more than now: the store does not let anybody commit by itself up to it any more.
    const maxVersion = await this.ts();
    do {
      const region = await this.run(regions.locate(start, operation));
      const request = this.session.routing.sender.request(COMMANDS.KvScanLock, {
        maxVersion,
        startKey: region.start,
        endKey: region.end,
        limit: 1_000,
      });
      const reply = await this.run(
        sendToKey(this.session.routing, region.start, { request, operation }),
      );
      keys.push(...reply.locks.map(({ key }) => utf8Decode(key)));
      start = region.end;
    } while (start.length > 0);
    return keys;
  }

  /** How often each request was sent since the last time, but for those of this class itself. */
  takeCalls(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { method } of this.calls.splice(0)) counts[method] = (counts[method] ?? 0) + 1;
    return counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run(this.parts.close());
    if (this.ownsCluster) await this.cluster.close();
  }

  #send<O>(key: string, request: Parameters<typeof sendToKey<unknown, O>>[2]["request"]): Promise<O> {
    const { routing } = this.session;
    return this.run(sendToKey(routing, utf8Encode(key), { request, operation: this.operation() }));
  }
}
