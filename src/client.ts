// SPDX-License-Identifier: Apache-2.0

import type { Environment } from "./async/clock.ts";
import { Deadline } from "./async/deadline.ts";
import { nameOf } from "./bytes/utf8.ts";
import type { ApiVersion, ClientOptions } from "./client_options.ts";
import { assemble, type ClientParts } from "./client/parts.ts";
import { checkHealth, type Health, loadRegions, type WarmUp, type WarmUpOptions } from "./client/health.ts";
import { checkMethods, checkNames, checkSignal } from "./options.ts";
import type { Pd } from "./pd/pd_client.ts";
import { createPlan, type PlanStart } from "./plan/plan.ts";
import { narrowDefaults } from "./plan/session.ts";
import type { Raw } from "./raw/api.ts";
import { createRaw } from "./raw/raw.ts";
import type { Command } from "./rpc/commands.ts";
import type { Transport } from "./rpc/transport.ts";
import { resolveSettings } from "./settings.ts";
import { splitTikvUrl } from "./tikv_url.ts";
import type { CallOptions } from "./types.ts";

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
  };
}

/**
 * A client of one cluster. It keeps connections to the stores and a cache of the regions: make one
 * and share it. Close it, or declare it with `await using`.
 */
export interface Client extends AsyncDisposable {
  /** Raw data. */
  readonly raw: Raw;
  /** The placement driver: timestamps, regions, stores, keyspaces. Keys are those of this client. */
  readonly pd: Pd;
  /** Identifies the cluster; the same for its whole life. */
  readonly clusterId: bigint;
  /** Tells whether {@linkcode Client.close} was called. */
  readonly isClosed: boolean;

  /**
   * Begins a plan: a request that the client has no method for, to the regions of a range, of keys,
   * or to all stores.
   *
   * @experimental
   */
  plan<I, O>(command: Command<I, O>, body: Partial<I>): PlanStart<I, O>;

  /**
   * The same client with other defaults for the calls of `raw`, plans, `health` and `warmUp`; `pd` keeps
   * its own. Closing one closes both.
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

  constructor(parts: ClientParts, defaults: CallOptions) {
    this.#parts = parts;
    this.#defaults = defaults;
    this.raw = createRaw(parts.session, defaults);
  }

  get pd(): Pd {
    return this.#parts.pd;
  }

  get clusterId(): bigint {
    return this.#parts.pd.clusterId;
  }

  get isClosed(): boolean {
    return this.#parts.session.closing.aborted;
  }

  plan<I, O>(command: Command<I, O>, body: Partial<I>): PlanStart<I, O> {
    const { session, storeTargets: stores } = this.#parts;
    return createPlan({ session, stores, defaults: this.#defaults }, command, body);
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

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface Target {
  readonly endpoints: readonly string[];
  readonly keyspace: string | undefined;
  readonly apiVersion: ApiVersion | undefined;
  readonly transport: Transport | undefined;
  readonly environment: Environment | undefined;
}

function targetOf(pd: string | readonly string[] | EmbeddedCluster): Target {
  if (typeof pd === "object" && pd !== null && "connectOptions" in pd) {
    const { pd: endpoints, transport, environment, apiVersion } = pd.connectOptions();
    return { endpoints, transport, environment, keyspace: undefined, apiVersion: API_VERSIONS[apiVersion] };
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
  return { endpoints, keyspace, apiVersion: undefined, transport: undefined, environment: undefined };
}

const API_VERSIONS = { v1: 1, v1ttl: "v1ttl", v2: 2 } as const satisfies Record<string, ApiVersion>;
const CALL_NAMES: ReadonlySet<string> = new Set(["signal", "timeoutMs"]);
