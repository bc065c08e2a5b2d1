// SPDX-License-Identifier: Apache-2.0

import type { Environment } from "./async/clock.ts";
import { Deadline } from "./async/deadline.ts";
import type { Operation } from "./async/operation.ts";
import { nameOf } from "./bytes/utf8.ts";
import type { ApiVersion, ClientOptions } from "./client_options.ts";
import { assemble, type ClientParts } from "./client/parts.ts";
import { checkHealth, type Health, loadRegions, type WarmUp, type WarmUpOptions } from "./client/health.ts";
import { CALL_NAMES, checkMethods, checkNames, checkSignal } from "./options.ts";
import type { Pd } from "./pd/pd_client.ts";
import { createPlan, type PlanStart } from "./plan/plan.ts";
import { narrowDefaults, type Session } from "./plan/session.ts";
import type { Raw } from "./raw/api.ts";
import { createRaw } from "./raw/raw.ts";
import type { Command, CommandName } from "./rpc/commands.ts";
import type { Transport } from "./rpc/transport.ts";
import { resolveSettings } from "./settings.ts";
import { splitTikvUrl } from "./tikv_url.ts";
import { type TransactionOptions, Transactions } from "./txn/begin.ts";
import type { BeginOptions } from "./txn/begin_options.ts";
import { createLocks, type Locks } from "./txn/client_locks.ts";
import { openSnapshot, type Snapshot } from "./txn/snapshot/snapshot.ts";
import type { SnapshotOptions } from "./txn/snapshot/snapshot_options.ts";
import type { Transaction } from "./txn/transaction_api.ts";
import type { CallOptions, Timestamp } from "./types.ts";

/** Options of {@linkcode connect}. */
export interface ConnectOptions extends ClientOptions {
  /** Ends connecting when aborted; it has no effect afterwards. */
  readonly signal?: AbortSignal | undefined;
  /** The network, for tests. It is not closed with the client. @default HTTP/2 */
  readonly transport?: Transport | undefined;
}

/** A cluster in this process; the playground is one. */
export interface EmbeddedCluster {
  /** How the cluster is reached from within this process. */
  connectOptions(): {
    readonly pd: readonly string[];
    readonly transport: Transport;
    readonly environment: Environment;
    readonly apiVersion: "v1" | "v1ttl" | "v2";
    readonly mode?: "raw" | "txn" | undefined;
  };
}

/**
 * A client of one cluster. It keeps connections to the stores and a cache of the regions: make one
 * and share it. Close it, or declare it with `await using`.
 */
export interface Client extends AsyncDisposable {
  /** Raw data: no transactions, but one round trip for each call. */
  readonly raw: Raw;
  /**
   * The placement driver: timestamps, regions, stores, keyspaces. Keys are those of this client's
   * `mode`, or of what it has used first.
   */
  readonly pd: Pd;
  /**
   * Locks of transactions: who waits for them, and what became of their owners. For tools.
   *
   * @experimental
   */
  readonly locks: Locks;
  /** Identifies the cluster; the same for its whole life. */
  readonly clusterId: bigint;
  /** Tells whether {@linkcode Client.close} was called. */
  readonly isClosed: boolean;

  /**
   * Runs a body in a transaction and commits it. When that fails because of others, everything is run
   * again on new data, until it is committed, `maxAttempts` are used up or the time is over: the body
   * may run several times, so let it have no other effects than those on the transaction. A body that
   * throws rolls back, and its error comes out.
   *
   * Resolves with what the body returned, when its writes are visible to everybody. After a commit
   * whose answer was lost the body is not run again; the call fails with `undetermined`.
   *
   * Costs one timestamp, the reads of the body, and for a small commit one round trip more.
   *
   * @example Move money
   * ```ts
   * import assert from "node:assert/strict";
   * import { codec } from "@tikv/client";
   *
   * await client.transaction((txn) => {
   *   const accounts = txn.sub("account/", { key: codec.utf8, value: codec.uint64 });
   *   accounts.put("ada", 100n);
   *   accounts.put("bob", 0n);
   * });
   * const left = await client.transaction(async (txn) => {
   *   const accounts = txn.sub("account/", { key: codec.utf8, value: codec.uint64 });
   *   const both = await accounts.batchGet(["ada", "bob"]);
   *   const [ada = 0n, bob = 0n] = [both.get("ada"), both.get("bob")];
   *   accounts.put("ada", ada - 30n);
   *   accounts.put("bob", bob + 30n);
   *   return ada - 30n;
   * });
   * assert.equal(left, 70n);
   * ```
   */
  transaction<T>(body: (txn: Transaction) => Promise<T> | T, options?: TransactionOptions): Promise<T>;

  /**
   * Begins a transaction that the caller ends, with `commit()` or `rollback()`, or by leaving the scope
   * of `await using`, which rolls back. It is not run again after a conflict: prefer
   * {@linkcode Client.transaction}. `signal` and `timeoutMs` hold for this call. Costs one timestamp.
   *
   * @example Commit by hand
   * ```ts
   * import assert from "node:assert/strict";
   *
   * await using txn = await client.begin({ mode: "pessimistic" });
   * const visits = Number(new TextDecoder().decode(await txn.getForUpdate("visits")) || 0);
   * txn.put("visits", String(visits + 1));
   * const { commitTs } = await txn.commit();
   * assert.ok(commitTs !== undefined && commitTs > txn.startTs);
   * ```
   */
  begin(options?: BeginOptions): Promise<Transaction>;

  /**
   * The data at one moment, to be read as often as needed. `signal` and `timeoutMs` hold for this call
   * and are the defaults of those that follow. Costs one timestamp, or nothing when one is given that
   * this client has seen before.
   *
   * @example Two reads of one moment
   * ```ts
   * import assert from "node:assert/strict";
   *
   * const before = await client.snapshot();
   * await client.transaction((txn) => txn.put("greeting", "hello"));
   * assert.equal(await before.get("greeting"), undefined);
   * assert.equal(await (await client.snapshot()).has("greeting"), true);
   * ```
   *
   * @example What was there a second ago, from whichever replica has it
   * ```ts
   * import assert from "node:assert/strict";
   *
   * const past = await client.snapshot({ staleMs: 1_000, replicaRead: "mixed" });
   * const users = await past.scanKeys({ prefix: "user/" }).toArray();
   * assert.equal(users.length, 0);
   * ```
   */
  snapshot(options?: SnapshotOptions): Promise<Snapshot>;

  /**
   * Begins a plan: a request that the client has no method for, to the regions of a range, of keys,
   * or to all stores.
   *
   * @experimental
   */
  plan<I, O>(command: Command<I, O>, body: Partial<I>): PlanStart<I, O>;

  /**
   * The same client with other defaults for the calls of `raw`, transactions, snapshots, plans, `health`
   * and `warmUp`; `pd` keeps its own. Closing one closes both.
   */
  with(options: CallOptions): Client;

  /**
   * Asks PD and every store whether they serve, and tells what is cached. It does not fail because
   * they do not: that is what it tells.
   */
  health(options?: CallOptions): Promise<Health>;

  /** Loads regions into the cache and connects to their stores, so that the first calls are fast. */
  warmUp(options?: WarmUpOptions): Promise<WarmUp>;

  /**
   * Ends everything that is under way with a `closed` error, and every connection. Idempotent;
   * resolves when nothing is left.
   */
  close(): Promise<void>;
}

/**
 * Connects to a cluster and resolves when PD has answered: a wrong address, a wrong cluster, or a
 * keyspace that does not exist are told at once, within `connectTimeoutMs`.
 *
 * @param pd addresses of PD: `host:port`, `http://host:port`, `https://host:port`, several of them in
 * an array or separated by commas, or `tikv://host:port,host:port?keyspaceName=name`; or a cluster in
 * this process
 *
 * @example Connect to a cluster in this process
 * ```ts
 * import assert from "node:assert/strict";
 * import { connect } from "@tikv/client";
 * import { Playground } from "@tikv/client/playground";
 *
 * await using cluster = await Playground.start({ stores: 3 });
 * await using client = await connect(cluster);
 * await client.raw.put("greeting", "hello");
 * assert.deepEqual(await client.raw.get("greeting"), new TextEncoder().encode("hello"));
 * ```
 */
export async function connect(
  pd: string | readonly string[] | EmbeddedCluster,
  options: ConnectOptions = {},
): Promise<Client> {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot use ${nameOf(options)} as the options: expected an object`);
  }
  const target = targetOf(pd);
  const { signal, transport = target.transport, ...own } = options;
  checkSignal(signal);
  checkMethods("transport", transport, ["unary", "stream", "connect", "closeAddress", "close"]);
  const settings = resolveSettings({
    ...own,
    keyspace: own.keyspace ?? target.keyspace,
    apiVersion: own.apiVersion ?? (own.keyspace === undefined ? target.apiVersion : undefined),
    mode: own.mode ?? target.mode,
    environment: own.environment ?? target.environment,
  });
  const deadline = Deadline.after(settings.environment.clock, settings.connectTimeoutMs, signal);
  return new ConnectedClient(
    await assemble({ endpoints: target.endpoints, settings, transport }, deadline),
    {},
  );
}

class ConnectedClient implements Client {
  readonly #parts: ClientParts;
  readonly #defaults: CallOptions;
  readonly raw: Raw;
  #transactionsOfView: Transactions | undefined;

  constructor(parts: ClientParts, defaults: CallOptions) {
    this.#parts = parts;
    this.#defaults = defaults;
    this.raw = createRaw(parts.session, defaults);
  }

  get pd(): Pd {
    return this.#parts.pd();
  }

  get locks(): Locks {
    return createLocks(this.#parts.txn(), this.#defaults);
  }

  get clusterId(): bigint {
    return this.#parts.clusterId;
  }

  get isClosed(): boolean {
    return this.#parts.session.closing.aborted;
  }

  async transaction<T>(
    body: (txn: Transaction) => Promise<T> | T,
    options?: TransactionOptions,
  ): Promise<T> {
    return await this.#transactions().run(body, options);
  }

  async begin(options?: BeginOptions): Promise<Transaction> {
    return await this.#transactions().begin(options);
  }

  async snapshot(options: SnapshotOptions = {}): Promise<Snapshot> {
    const parts = this.#parts.txn();
    const timestamp = (operation: Operation): Promise<Timestamp> => parts.session.oracle.timestamp(operation);
    return await openSnapshot(parts, options, { defaults: this.#defaults, timestamp });
  }

  plan<I, O>(command: Command<I, O>, body: Partial<I>): PlanStart<I, O> {
    const { storeTargets: stores } = this.#parts;
    return createPlan(
      { session: this.#sessionOf(command.name), stores, defaults: this.#defaults },
      command,
      body,
    );
  }

  with(options: CallOptions): Client {
    checkNames("the options of a view", options, CALL_NAMES);
    return new ConnectedClient(this.#parts, narrowDefaults(this.#defaults, options));
  }

  health(options?: CallOptions): Promise<Health> {
    return checkHealth(this.#parts, { options, defaults: this.#defaults });
  }

  warmUp(options?: WarmUpOptions): Promise<WarmUp> {
    return loadRegions(this.#parts, { options, defaults: this.#defaults });
  }

  close(): Promise<void> {
    return this.#parts.close();
  }

  /** Each kind of data has keys of its own, and regions by them. */
  #sessionOf(name: CommandName): Session {
    if (name.startsWith("Raw")) return this.#parts.session;
    const isTxn = TXN_COMMANDS.some((prefix) => name.startsWith(prefix));
    return isTxn ? this.#parts.txn().session : this.#parts.anySession();
  }

  #transactions(): Transactions {
    return this.#transactionsOfView ??= new Transactions(this.#parts.txn(), this.#defaults);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface Target {
  readonly endpoints: readonly string[];
  readonly keyspace: string | undefined;
  readonly apiVersion: ApiVersion | undefined;
  readonly mode: "raw" | "txn" | undefined;
  readonly transport: Transport | undefined;
  readonly environment: Environment | undefined;
}

function targetOf(pd: string | readonly string[] | EmbeddedCluster): Target {
  if (typeof pd === "object" && pd !== null && "connectOptions" in pd) {
    const { pd: endpoints, apiVersion, ...own } = pd.connectOptions();
    return { mode: undefined, ...own, endpoints, keyspace: undefined, apiVersion: API_VERSIONS[apiVersion] };
  }
  const texts: readonly unknown[] = typeof pd === "string" ? [pd] : pd;
  if (!Array.isArray(texts)) {
    throw new TypeError(
      `Cannot connect to ${nameOf(pd)}: expected an address of PD, an array of them, or a cluster`,
    );
  }
  let keyspace: string | undefined;
  const endpoints = texts.map((text: unknown) => {
    if (typeof text !== "string") {
      throw new TypeError(`Cannot connect to ${nameOf(text)}: expected an address of PD`);
    }
    const split = splitTikvUrl(text);
    keyspace ??= split.keyspace;
    return split.endpoints;
  });
  return {
    endpoints,
    keyspace,
    apiVersion: undefined,
    mode: undefined,
    transport: undefined,
    environment: undefined,
  };
}

const API_VERSIONS = { v1: 1, v1ttl: "v1ttl", v2: 2 } as const satisfies Record<string, ApiVersion>;
const TXN_COMMANDS: readonly string[] = ["Kv", "KV", "Mvcc", "Coprocessor"];
