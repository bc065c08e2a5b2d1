// SPDX-License-Identifier: Apache-2.0
// Transactional commands to a cluster in memory, in short: keys and values are strings, timestamps
// are made of milliseconds, errors are named by one word. Nothing here belongs to the client.

import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type {
  BatchRollbackResponse,
  CheckTxnStatusResponse,
  CommitResponse,
  Context,
  KeyError,
  KvPair,
  LockInfo,
  MvccInfo,
  PessimisticLockResponse,
  PrewriteResponse,
} from "../../../../gen/kvrpcpb_pb.ts";
import {
  Action,
  Op,
  PrewriteRequest_PessimisticAction,
  WriteConflict_Reason,
} from "../../../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../../../gen/tikvpb_pb.ts";
import type { PlaygroundOptions } from "../../../../src/playground/mod.ts";
import { ManualClock, Playground } from "../../../../src/playground/mod.ts";
import { bytes, contextFor, leaderAddress, text, unary } from "../gen_client.ts";

export { Action, bytes, Op, text };

const { method } = Tikv;

type Fields = Record<string, unknown>;
type ContextFields = Omit<Partial<Context>, "$typeName">;

/** A timestamp at this many milliseconds. */
export function at(ms: number, logical: number = 0): bigint {
  return (BigInt(ms) << 18n) + BigInt(logical);
}

/** What a prewrite does: a string puts, null deletes, an `Op` does what it says. */
export type Writes = Record<string, string | null | Op>;

/** A cluster in memory with short commands. */
export class TxnBench implements AsyncDisposable {
  readonly cluster: Playground;
  readonly clock: ManualClock;

  private constructor(cluster: Playground, clock: ManualClock) {
    this.cluster = cluster;
    this.clock = clock;
  }

  static async start(options: PlaygroundOptions = {}): Promise<TxnBench> {
    const clock = new ManualClock();
    return new TxnBench(await Playground.start({ stores: 3, mode: "txn", clock, ...options }), clock);
  }

  /** Calls the leader of the region of a key. */
  async call<I extends DescMessage, O extends DescMessage>(
    target: DescMethodUnary<I, O>,
    key: string,
    request: Fields,
    context: ContextFields = {},
  ): Promise<MessageShape<O>> {
    const region = this.cluster.regionOf(key);
    const init = { context: contextFor(region, context), ...request } as unknown as MessageInitShape<I>;
    const { transport } = this.cluster.connectOptions();
    return await unary(transport, leaderAddress(this.cluster, region), target, init);
  }

  async prewrite(
    writes: Writes,
    startTs: bigint,
    fields: Fields = {},
    context: ContextFields = {},
  ): Promise<PrewriteResponse> {
    const keys = Object.keys(writes);
    const first = keys[0] ?? "";
    return await this.call(method.kvPrewrite, first, {
      mutations: keys.map((key) => mutation(key, writes[key])),
      primaryLock: bytes(first),
      startVersion: startTs,
      lockTtl: 3_000n,
      ...fields,
    }, context);
  }

  /** Prewrites keys that have pessimistic locks. */
  async prewriteLocked(
    writes: Writes,
    startTs: bigint,
    forUpdateTs: bigint,
    fields: Fields = {},
  ): Promise<PrewriteResponse> {
    const pessimisticActions = Object.keys(writes).map(() =>
      PrewriteRequest_PessimisticAction.DO_PESSIMISTIC_CHECK
    );
    return await this.prewrite(writes, startTs, { forUpdateTs, pessimisticActions, ...fields });
  }

  async commit(
    keys: readonly string[],
    startTs: bigint,
    commitTs: bigint,
    fields: Fields = {},
  ): Promise<CommitResponse> {
    return await this.call(method.kvCommit, keys[0] ?? "", {
      keys: keys.map(bytes),
      startVersion: startTs,
      commitVersion: commitTs,
      ...fields,
    });
  }

  /** Writes and commits, and fails when that fails. */
  async put(writes: Writes, startTs: bigint, commitTs: bigint): Promise<void> {
    const errors = (await this.prewrite(writes, startTs)).errors.map(faultName);
    if (errors.length > 0) throw new Error(`cannot prewrite: ${errors.join()}`);
    const { error } = await this.commit(Object.keys(writes), startTs, commitTs);
    if (error !== undefined) throw new Error(`cannot commit: ${faultName(error)}`);
  }

  async rollback(keys: readonly string[], startTs: bigint): Promise<BatchRollbackResponse> {
    return await this.call(method.kvBatchRollback, keys[0] ?? "", {
      keys: keys.map(bytes),
      startVersion: startTs,
    });
  }

  async lock(
    keys: readonly string[],
    startTs: bigint,
    forUpdateTs: bigint,
    fields: Fields = {},
  ): Promise<PessimisticLockResponse> {
    const first = keys[0] ?? "";
    const { op = Op.PessimisticLock, assertion = 0, ...rest } = fields;
    return await this.call(method.kvPessimisticLock, first, {
      mutations: keys.map((key) => ({ op, key: bytes(key), assertion })),
      primaryLock: bytes(first),
      startVersion: startTs,
      forUpdateTs,
      lockTtl: 3_000n,
      waitTimeout: -1n,
      ...rest,
    });
  }

  async status(key: string, lockTs: bigint, fields: Fields = {}): Promise<CheckTxnStatusResponse> {
    return await this.call(method.kvCheckTxnStatus, key, {
      primaryKey: bytes(key),
      lockTs,
      verifyIsPrimary: true,
      ...fields,
    });
  }

  /** The value, `undefined`, or the name of the error in angle brackets. */
  async get(
    key: string,
    version: bigint,
    context: ContextFields = {},
  ): Promise<string | undefined> {
    const reply = await this.call(method.kvGet, key, { key: bytes(key), version }, context);
    if (reply.error !== undefined) return `<${faultName(reply.error)}>`;
    return reply.notFound ? undefined : text(reply.value);
  }

  /** A scan as `key=value`, with errors in angle brackets. */
  async scan(
    start: string,
    fields: Fields = {},
    context: ContextFields = {},
  ): Promise<string> {
    const reply = await this.call(
      method.kvScan,
      start,
      { startKey: bytes(start), limit: 100, ...fields },
      context,
    );
    return reply.pairs.map(pairName).join(" ");
  }

  async locks(maxVersion: bigint = 0xffff_ffff_ffff_fffen): Promise<LockInfo[]> {
    return (await this.call(method.kvScanLock, "", { maxVersion })).locks;
  }

  async mvcc(key: string): Promise<MvccInfo> {
    const { info } = await this.call(method.mvccGetByKey, key, { key: bytes(key) });
    if (info === undefined) throw new Error("no information");
    return info;
  }

  /** The write column of a key as `kind@start-commit`, newest first. */
  async writes(key: string): Promise<string> {
    const { writes } = await this.mvcc(key);
    return writes.map(({ type, startTs, commitTs, hasOverlappedRollback, shortValue }) => {
      const isProtected = type === Op.Rollback && shortValue.length > 0;
      return `${opName(type)}${isProtected ? "!" : ""}@${startTs >> 18n}-${commitTs >> 18n}${
        hasOverlappedRollback ? "+R" : ""
      }`;
    }).join(" ");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cluster.close();
  }
}

function mutation(key: string, value: string | null | Op | undefined): Fields {
  if (typeof value === "string") return { op: Op.Put, key: bytes(key), value: bytes(value) };
  if (typeof value !== "number") return { op: Op.Del, key: bytes(key) };
  return { op: value, key: bytes(key), ...(value === Op.Insert ? { value: bytes("inserted") } : {}) };
}

function opName(op: Op): string {
  return Object.entries(Op).find(([, value]) => value === op)?.[0]?.toLowerCase() ?? "?";
}

function pairName({ error, key, value }: KvPair): string {
  return error === undefined ? `${text(key)}=${text(value)}` : `<${faultName(error)}>`;
}

/** The kind of an error in a word. */
export function faultName(error: KeyError | undefined): string {
  if (error === undefined) return "ok";
  if (error.locked !== undefined) return "locked";
  if (error.conflict !== undefined) {
    const { reason } = error.conflict;
    const name = Object.entries(WriteConflict_Reason).find(([, value]) => value === reason)?.[0];
    return `conflict:${name}`;
  }
  if (error.alreadyExist !== undefined) return "exists";
  if (error.txnLockNotFound !== undefined) return "lock-not-found";
  if (error.txnNotFound !== undefined) return "txn-not-found";
  if (error.deadlock !== undefined) return "deadlock";
  if (error.commitTsExpired !== undefined) return "commit-ts-expired";
  if (error.commitTsTooLarge !== undefined) return "commit-ts-too-large";
  if (error.assertionFailed !== undefined) return "assertion-failed";
  if (error.primaryMismatch !== undefined) return "primary-mismatch";
  const variant = /Error\((\w+)[ ({]+[^E]*$/.exec(error.abort)?.[1] ?? error.abort;
  return `abort:${variant}`;
}

/** The kinds of all errors of an answer. */
export function faults({ errors }: { readonly errors: readonly KeyError[] }): string {
  return errors.map(faultName).join(" ") || "ok";
}
