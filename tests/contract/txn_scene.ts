// SPDX-License-Identifier: Apache-2.0
// What the suites of transactions share: clients that vanish, and a look at the locks in the stores.

import {
  type Client,
  type ConnectOptions,
  type Environment,
  type InterceptedCall,
  type Interceptor,
  Kv,
  type Snapshot,
} from "../../mod.ts";
import { systemEnvironment } from "../../src/async/clock.ts";
import { compareBytes } from "../../src/bytes/compare.ts";
import { until } from "../helpers/until.ts";
import { PD } from "../../gen/pdpb_pb.ts";
import { GRPC, RpcError } from "../../src/rpc/grpc_status.ts";
import { directCalls } from "./direct_calls.ts";
import type { ClusterControl, Scene } from "./backend.ts";

const TEXT = new TextDecoder();
const MAX_TS = 0xffff_ffff_ffff_ffffn;

/** Bytes as text; undefined stays what it is. */
export function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : TEXT.decode(bytes);
}

/** The entries of anything that has some, as an object of texts. */
export function entriesOf(
  found: Iterable<readonly [Uint8Array, Uint8Array]> | readonly { key: Uint8Array; value: Uint8Array }[],
): Record<string, string> {
  const all: [string, string][] = [];
  for (const one of found) {
    const [key, value] = "key" in one ? [one.key, one.value] : one;
    all.push([TEXT.decode(key), TEXT.decode(value)]);
  }
  return Object.fromEntries(all);
}

/** `count` names in order, of the same length. */
export function namesOf(count: number, start = "k"): string[] {
  const { length } = String(count);
  return Array.from({ length: count }, (_, i) => `${start}${String(i).padStart(length, "0")}`);
}

/** Everything that begins with the prefix of the test, at a new timestamp. */
export async function allOf(
  { client, prefix }: Pick<Scene, "client" | "prefix">,
): Promise<Record<string, string>> {
  return entriesOf(await (await client.snapshot()).sub(prefix).scan({}).toArray());
}

/** A new snapshot of the keys of the test. */
export async function now({ client, prefix }: Pick<Scene, "client" | "prefix">): Promise<Snapshot> {
  return (await client.snapshot()).sub(prefix);
}

/** Writes entries in a transaction of their own. */
export async function write(
  { client, prefix }: Pick<Scene, "client" | "prefix">,
  entries: Readonly<Record<string, string>>,
): Promise<void> {
  await client.transaction((txn) => {
    const view = txn.sub(prefix);
    for (const [key, value] of Object.entries(entries)) view.put(key, value);
  });
}

/** The keys of the test that are locked, without its prefix, in order. */
export async function lockedKeys({ client, prefix }: Pick<Scene, "client" | "prefix">): Promise<string[]> {
  const replies = await client.plan(Kv.kvScanLock, { maxVersion: MAX_TS, limit: 10_000 })
    .toRegionsOf({ prefix }, ({ start, end }) => ({ startKey: start, endKey: end }))
    .retryRegionErrors()
    .run();
  return replies.flatMap(({ locks }) => locks.map(({ key }) => key)).sort(compareBytes)
    .map((key) => TEXT.decode(key).slice(prefix.length));
}

/** Waits until the stores keep no lock of the test any more. */
export async function untilUnlocked(scene: Pick<Scene, "client" | "prefix">): Promise<void> {
  await until(async () => (await lockedKeys(scene)).length === 0, "no lock is left", 10_000);
}

/**
 * Reads until no lock of the test is left: who reads over one that is known to be over need not resolve
 * it.
 */
export async function settle(scene: Pick<Scene, "client" | "prefix">): Promise<void> {
  await until(
    async () => {
      await allOf(scene);
      return (await lockedKeys(scene)).length === 0;
    },
    "readers have resolved every lock",
    10_000,
  );
}

/** Cuts the keys of the test into regions that begin at these. */
export async function splitAt(
  { control, prefix }: { readonly control: ClusterControl; readonly prefix: string },
  ...keys: readonly string[]
): Promise<void> {
  for (const key of keys) await control.split?.(`${prefix}${key}`);
}

/** Options of {@linkcode vanish}. */
export interface VanishOptions {
  /** How many requests of a method still get out; those after them, and every later request, do not. */
  readonly before: Readonly<Record<string, number>>;
  /** How long its locks live that nobody keeps alive. @default {1} */
  readonly ttlMs?: number;
  readonly client?: ConnectOptions;
}

/** Somebody whose program ends in the middle of something. */
export interface Vanishing {
  readonly client: Client;
  /** Resolves when the program has ended: nothing gets out any more, and what did is done. */
  readonly gone: Promise<void>;
}

/**
 * A client that vanishes at a request: neither that nor anything later reaches a store, and what waits
 * for an answer waits in vain. Its locks do not live long, so that nobody has to wait for them.
 */
export async function vanishing(scene: Scene, options: VanishOptions): Promise<Vanishing> {
  const left = new Map(Object.entries(options.before));
  let isGone = false;
  let tell = (): void => {};
  // What got out before is done.
  const underWay = new Set<Promise<unknown>>();
  const gone = new Promise<void>((resolve) => tell = resolve).then(async () => {
    await Promise.all(underWay);
  });
  const lives = (call: InterceptedCall): boolean => {
    const rest = left.get(call.method);
    if (rest === undefined) return true;
    left.set(call.method, rest - 1);
    return rest > 0;
  };
  const client = await scene.connect({
    ...options.client,
    // What it still wants to wait for then, as it is closed, it has not to be waited for.
    environment: fasterEnvironment(scene.cluster.options.environment, 50, () => isGone),
    interceptors: [(call, next) => {
      if (!isGone && !lives(call)) {
        isGone = true;
        tell();
      }
      if (isGone) return new Promise<never>(() => {});
      const answer = next(withTtl(call, options.ttlMs ?? 1));
      underWay.add(answer.catch(() => {}));
      return answer;
    }],
  });
  return { client, gone };
}

/** Runs somebody's transaction until they vanish. */
export async function vanish(
  scene: Scene,
  options: VanishOptions,
  work: (client: Client) => Promise<unknown>,
): Promise<void> {
  const { client, gone } = await vanishing(scene, options);
  // It may have had its answer before the last of its requests.
  work(client).catch(() => {});
  let isGone = false;
  gone.then(() => isGone = true);
  await until(() => isGone, "the client vanishes");
  await client.close();
}

/** An environment whose waits take a part of their time while the condition holds. */
export function fasterEnvironment(
  base: Environment = systemEnvironment,
  factor: number,
  isFaster: () => boolean = () => true,
): Environment {
  const { clock, random } = base;
  return {
    random,
    clock: {
      now: () => clock.now(),
      wallNow: () => clock.wallNow(),
      timer: (ms, callback, options) => clock.timer(isFaster() ? ms / factor : ms, callback, options),
    },
  };
}

/** Makes the locks of a client end that soon unless they are kept alive. */
export function livingFor(ttlMs: number): Interceptor {
  return (call, next) => next(withTtl(call, ttlMs));
}

function withTtl(call: InterceptedCall, ttlMs: number): InterceptedCall {
  const request = call.request as { readonly lockTtl?: bigint };
  if (request.lockTtl === undefined) return call;
  return { ...call, request: { ...request, lockTtl: BigInt(ttlMs) } };
}

/** Lets what only snapshots before the timestamp see be collected, as whoever collects garbage does. */
export async function advanceSafePoint(
  { cluster, client }: Pick<Scene, "cluster" | "client">,
  ts: bigint,
): Promise<void> {
  const calls = await directCalls(cluster);
  try {
    const header = { clusterId: calls.clusterId };
    const isV2 = cluster.options.apiVersion === 2;
    const keyspaceId = isV2 ? (await client.pd.keyspaces.getEnabled("DEFAULT")).id : NO_KEYSPACE;
    const scoped = {
      header,
      keyspaceScope: { keyspace: { case: "keyspaceId", value: keyspaceId } },
      target: ts,
    } as const;
    const { advanceTxnSafePoint, advanceGCSafePoint, updateGCSafePoint } = PD.method;
    try {
      await calls.unary(calls.pdAddress, advanceTxnSafePoint, scoped);
      await calls.unary(calls.pdAddress, advanceGCSafePoint, scoped);
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== GRPC.UNIMPLEMENTED) throw error;
      await calls.unary(calls.pdAddress, updateGCSafePoint, { header, safePoint: ts });
    }
  } finally {
    await calls.close();
  }
}

const NO_KEYSPACE = 0xffff_ffff;
