// SPDX-License-Identifier: Apache-2.0
// A playground for commits, and a client of it whose requests to stores a test can look at as they were
// on the wire, their contexts included.

import { fromBinary } from "@bufbuild/protobuf";
import type {
  BatchRollbackRequest,
  CheckTxnStatusRequest,
  CommitRequest,
  Context,
  PessimisticLockRequest,
  PessimisticRollbackRequest,
  PrewriteRequest,
  TxnHeartBeatRequest,
} from "../../../gen/kvrpcpb_pb.ts";
import { BatchCommandsRequestSchema, Tikv } from "../../../gen/tikvpb_pb.ts";
import { decodeBytes } from "../../../src/bytes/memcomparable.ts";
import { utf8Decode } from "../../../src/bytes/utf8.ts";
import type { ClientOptions } from "../../../src/client_options.ts";
import type { FaultEffect, FaultMatch, FaultRule, PlaygroundOptions } from "../../../src/playground/mod.ts";
import type { Transport } from "../../../src/rpc/transport.ts";
import { Transactions } from "../../../src/txn/begin.ts";
import type { BeginOptions } from "../../../src/txn/begin_options.ts";
import type { CommitLimits } from "../../../src/txn/commit/commit_limits.ts";
import type { Transaction } from "../../../src/txn/transaction_api.ts";
import type { Oracle } from "../../../src/txn/txn_session.ts";
import type { CallOptions, Timestamp } from "../../../src/types.ts";
import { SnapshotWorld } from "./snapshot_world.ts";

interface Bodies {
  readonly Prewrite: PrewriteRequest;
  readonly Commit: CommitRequest;
  readonly BatchRollback: BatchRollbackRequest;
  readonly PessimisticLock: PessimisticLockRequest;
  readonly PessimisticRollback: PessimisticRollbackRequest;
  readonly CheckTxnStatus: CheckTxnStatusRequest;
  readonly TxnHeartBeat: TxnHeartBeatRequest;
}

/** A command as it went out. */
export interface Sent<N extends keyof Bodies = keyof Bodies> {
  readonly name: N;
  readonly body: Bodies[N];
  /** When it was sent, on the clock. */
  readonly at: number;
}

/** Options of {@linkcode CommitWorld.start}. */
export interface CommitWorldOptions {
  readonly cluster?: PlaygroundOptions;
  readonly client?: ClientOptions;
  /** Defaults of the transactions. */
  readonly defaults?: CallOptions;
  readonly limits?: Partial<CommitLimits>;
  /** Another client of the cluster of this world. */
  readonly joins?: CommitWorld;
}

/** The cluster, and a client that is looked at. */
export class CommitWorld implements AsyncDisposable {
  readonly world: SnapshotWorld;
  readonly txns: Transactions;
  readonly #sent: Sent[];
  /** Changes what transactions get as a timestamp. */
  mapTimestamp: (ts: Timestamp) => Timestamp = (ts) => ts;
  #timestamps = 0;

  private constructor(world: SnapshotWorld, sent: Sent[], { limits, defaults = {} }: CommitWorldOptions) {
    this.world = world;
    this.#sent = sent;
    const parts = world.snapshotParts;
    const { oracle } = world.session;
    const counting: Oracle = {
      timestamp: async (operation) => {
        this.#timestamps++;
        return this.mapTimestamp(await oracle.timestamp(operation));
      },
      get latest() {
        return oracle.latest;
      },
    };
    const session = { ...world.session, limits, oracle: counting };
    this.txns = new Transactions({ ...parts, session }, defaults);
  }

  /** Starts with the regions up to "m" and from "m" on, unless said otherwise. */
  static async start(options: CommitWorldOptions = {}): Promise<CommitWorld> {
    const sent: Sent[] = [];
    let now = (): number => 0;
    const world = await SnapshotWorld.start(
      options.joins?.world ?? { splitKeys: ["m"], ...options.cluster },
      { timeoutMs: 60_000, ...options.client },
      (transport) => tapped(transport, (name, body) => sent.push({ name, body, at: now() })),
    );
    now = () => world.clock.now();
    return new CommitWorld(world, sent, options);
  }

  get clock(): SnapshotWorld["clock"] {
    return this.world.clock;
  }

  get cluster(): SnapshotWorld["cluster"] {
    return this.world.cluster;
  }

  /** Settles a promise by moving the clock as far as it takes. */
  run<T>(promise: Promise<T>): Promise<T> {
    return this.clock.run(promise);
  }

  begin(options: BeginOptions = {}): Promise<Transaction> {
    return this.run(this.txns.begin(options));
  }

  /** Begins a transaction and writes keys with themselves as their values; forgets what was sent so far. */
  async writing(keys: readonly string[], options: BeginOptions = {}): Promise<Transaction> {
    const txn = await this.begin(options);
    for (const key of keys) txn.put(key, key);
    // Regions and connections are known, so that what follows is the transaction's own.
    for (const key of keys) await this.run(txn.get(`${key}?`));
    this.forget();
    return txn;
  }

  /** A rule for the calls of the cluster. */
  fault(match: FaultMatch | string, effect: FaultEffect): FaultRule {
    return this.cluster.faults.add(typeof match === "string" ? { method: match, times: 1 } : match, effect);
  }

  /** The commands of one kind that were sent, in order. */
  sent<N extends keyof Bodies>(name: N): Sent<N>[] {
    return this.#sent.filter((one): one is Sent<N> => one.name === name);
  }

  bodies<N extends keyof Bodies>(name: N): Bodies[N][] {
    return this.sent(name).map(({ body }) => body);
  }

  contexts<N extends keyof Bodies>(name: N): Context[] {
    return this.bodies(name).map(({ context }) => context as Context);
  }

  /** Timestamps that its transactions have asked for. */
  timestamps(): number {
    return this.#timestamps;
  }

  /** The first keys of all regions. */
  regionStarts(): string[] {
    return this.cluster.regions().map(({ start }) =>
      start.length === 0 ? "" : utf8Decode(decodeBytes(start))
    );
  }

  /** The names of everything that was sent, in order. */
  order(): string[] {
    return this.#sent.map(({ name }) => name);
  }

  /** Forgets what was sent. */
  forget(): void {
    this.#sent.length = 0;
  }

  /** Lets everything happen that needs no time, also in the background. */
  async settle(ms = 0): Promise<void> {
    await this.clock.advance(ms);
  }

  /** The values of keys; locks in the way are resolved. */
  async read(...keys: readonly string[]): Promise<(string | undefined)[]> {
    const snapshot = await this.world.snapshot();
    const values: (string | undefined)[] = [];
    for (const key of keys) {
      const value = await this.run(snapshot.get(key));
      values.push(value === undefined ? undefined : utf8Decode(value));
    }
    return values;
  }

  /** The locks that there are; nobody is waited for. */
  async locked(): Promise<string[]> {
    const keys = await this.world.lockedKeys();
    return keys;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

/** Keys of a request, as text. */
export function textOf(keys: readonly Uint8Array[]): string[] {
  return keys.map((key) => utf8Decode(key));
}

/** What a promise rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

const WATCHED: ReadonlySet<string> = new Set<keyof Bodies>([
  "Prewrite",
  "Commit",
  "BatchRollback",
  "PessimisticLock",
  "PessimisticRollback",
  "CheckTxnStatus",
  "TxnHeartBeat",
]);

function tapped(transport: Transport, onSent: (name: keyof Bodies, body: never) => void): Transport {
  return {
    // What is too large for a batch goes alone.
    unary(endpoint, path, message, options): ReturnType<Transport["unary"]> {
      const method = Tikv.methods.find(({ name }) => path.endsWith(`/${name}`));
      const name = method?.name.replace(/^K[vV]/, "") ?? "";
      if (method !== undefined && WATCHED.has(name)) {
        onSent(name as keyof Bodies, fromBinary(method.input, message) as never);
      }
      return transport.unary(endpoint, path, message, options);
    },
    connect: (...args) => transport.connect(...args),
    closeAddress: (...args) => transport.closeAddress(...args),
    close: () => transport.close(),
    stream(endpoint, path, handlers, options): ReturnType<Transport["stream"]> {
      const stream = transport.stream(endpoint, path, handlers, options);
      if (!path.endsWith("/BatchCommands")) return stream;
      return {
        send(message): boolean {
          for (const { cmd } of fromBinary(BatchCommandsRequestSchema, message).requests) {
            const name = cmd.case;
            if (name !== undefined && WATCHED.has(name)) onSent(name as keyof Bodies, cmd.value as never);
          }
          return stream.send(message);
        },
        end: () => stream.end(),
        cancel: (cause) => stream.cancel(cause),
      };
    },
  };
}
