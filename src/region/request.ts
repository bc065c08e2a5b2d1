// SPDX-License-Identifier: Apache-2.0

import type { Environment } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import type { Operation } from "../async/operation.ts";
import { concatBytes } from "../bytes/concat.ts";
import type { Observer } from "../observe/events.ts";
import type { ApiCodec } from "../rpc/api_codec.ts";
import type { Command, CommandName } from "../rpc/commands.ts";
import { type ContextFields, encodeFields, encodeRegionContext } from "../rpc/context.ts";
import type { StoreClient } from "../rpc/store_client.ts";
import type { PeerContext, Region, RegionPeer } from "./region.ts";
import type { RegionCache } from "./region_cache.ts";
import type { ReadKind, ReadRoute } from "./replica.ts";
import type { RegionLoader } from "./region_loader.ts";
import type { StoreCache } from "./store_cache.ts";

/** Who has answered a read. */
export interface ReadAnswer {
  readonly isLeader: boolean;
  /** It was one of the past, for which a replica need not ask its leader. */
  readonly isStale: boolean;
  /** Nobody was asked before. */
  readonly isFirst: boolean;
}

/** What a request may say about itself. */
export interface RequestOptions {
  /** Fields of the request's context, for example its priority. */
  readonly context?: ContextFields | undefined;
  /** In the queue to the store; see `store_client.ts`. */
  readonly priority?: number | undefined;
  /** Time for one attempt when it is not the usual one of the command. */
  readonly attemptTimeoutMs?: number | undefined;
  /** The same for the first attempt only: those that follow it take the time they need. */
  readonly firstAttemptTimeoutMs?: number | undefined;
  /** Lets a read go to other replicas than the leader; other requests take no notice of it. */
  readonly route?: ReadRoute | undefined;
  /** Is told who has answered a read that had a route. */
  readonly onAnswer?: ((answer: ReadAnswer) => void) | undefined;
  /** A part of it was sent before, for example before its region was split. */
  readonly isRetry?: boolean | undefined;
}

/** A request that is sent to one region, perhaps several times. */
export interface RegionRequest<I, O> {
  readonly command: Command<I, O>;
  /** In the keys of the cluster. */
  readonly body: I;
  readonly options: RequestOptions;
  /** The body as bytes, once it was sent. */
  encoded: Uint8Array | undefined;
  /** It went out before, whatever came of it. */
  isRetry: boolean;
  /** When it went out last, on the clock. */
  sentAt: number;
  /** Who was asked first and how, for the statistics of stores; only known where it has a source. */
  firstRead?: string | undefined;
}

/** What requests to regions are sent with. */
export interface SenderOptions {
  readonly client: Pick<StoreClient, "call" | "closeAddress">;
  readonly regions: Pick<RegionCache, "insert" | "invalidate" | "updateLeader">;
  readonly stores: Pick<
    StoreCache,
    "onSendFailure" | "markNeedsCheck" | "invalidate" | "isSlow" | "markSlow" | "recordRead"
  >;
  readonly loader: Pick<RegionLoader, "build">;
  readonly api: ApiCodec;
  readonly clusterId: bigint;
  readonly settings: {
    readonly environment: Environment;
    readonly observe: Observer;
    readonly attemptTimeoutMs: number;
    readonly longAttemptTimeoutMs: number;
    /** Shows texts of stores that may name keys. */
    readonly revealKeys?: boolean | undefined;
    /** Lets another store pass requests on to a leader that cannot be reached from here. */
    readonly enableForwarding?: boolean | undefined;
  };
}

/** One attempt. */
export interface Attempt<I, O> {
  readonly region: Region;
  readonly peer: RegionPeer;
  readonly request: RegionRequest<I, O>;
  readonly operation: Operation;
  readonly kind?: ReadKind | undefined;
  readonly busyThresholdMs?: number | undefined;
  /** Passes the request on to the peer's store. */
  readonly proxy?: RegionPeer | undefined;
}

/**
 * Sends one request once. The reply is as it came, in the keys of the cluster. What keeps the
 * request from being sent at all is thrown, not rejected with.
 */
export function attempt<I, O>(
  options: SenderOptions,
  { region, peer, request, operation, kind = "plain", busyThresholdMs = 0, proxy }: Attempt<I, O>,
): Promise<O> {
  const { command } = request;
  const { clock } = options.settings.environment;
  const { deadline } = operation;
  const now = clock.now();
  if (deadline.isAborted || now >= deadline.at) deadline.throwIfOver(`send ${command.name}`);
  const first = request.isRetry ? undefined : request.options.firstAttemptTimeoutMs;
  const timeoutMs = first ?? request.options.attemptTimeoutMs ?? timeoutOf(options, command.name);
  const endsFirst = now + timeoutMs < deadline.at;
  const body = request.encoded ??= command.encode(request.body);
  const context = contextOf(options, {
    region,
    peer,
    fields: fieldsOf(request, region.leader === peer ? "leader" : "follower", kind),
    // The store stops working on it when nobody waits any more.
    maxExecutionMs: endsFirst ? timeoutMs : Math.max(1, Math.floor(deadline.at - now)),
    isRetry: request.isRetry,
    kind,
    busyThresholdMs,
  });
  // Stores take it as "this may have been executed before", which a region error does not undo.
  request.isRetry = true;
  request.sentAt = now;
  operation.attempts++;
  const address = peer.store.address;
  const ref = proxy === undefined ? peer.store : proxy.store;
  return options.client.call(ref, command, { context, body, plain: request.body }, {
    deadline: endsFirst
      ? new Deadline(clock, now + timeoutMs, deadline.signal, deadline.startedAt)
      : deadline,
    operation: operation.name,
    attempt: operation.attempts,
    priority: request.options.priority,
    forwardedHost: proxy === undefined ? undefined : address,
    regionId: region.id,
  });
}

// Stores count reads by the beginning of the source, and limit them by what is behind it.
function fieldsOf<I, O>(
  request: RegionRequest<I, O>,
  role: "leader" | "follower",
  kind: ReadKind,
): ContextFields | undefined {
  const fields = request.options.context;
  const source = fields?.requestSource;
  if (source === undefined || source === "") return fields;
  const read = kind === "stale" ? `stale_${role}` : role;
  if (!request.isRetry) request.firstRead = read;
  const how = request.isRetry ? `retry_${request.firstRead ?? read}_${role}` : read;
  return { ...fields, requestSource: `${how}_${source}` };
}

interface ContextParts {
  readonly region: Region;
  readonly peer: RegionPeer;
  readonly fields: ContextFields | undefined;
  readonly maxExecutionMs: number;
  readonly isRetry: boolean;
  readonly kind: ReadKind;
  readonly busyThresholdMs: number;
}

// Most requests to a peer have the same context as the one before: its bytes are kept.
function contextOf(options: SenderOptions, parts: ContextParts): Uint8Array {
  const { region, peer, fields, maxExecutionMs, isRetry, kind, busyThresholdMs } = parts;
  const bucketsVersion = region.buckets?.version;
  const kept = peer.context;
  const isUsual = !isRetry && busyThresholdMs === 0 && fields === undefined;
  if (
    isUsual && kept !== undefined && kept.kind === kind && kept.maxExecutionMs === maxExecutionMs &&
    kept.bucketsVersion === bucketsVersion
  ) {
    return kept.usual;
  }
  const fixed = kept?.fixed ?? encodeRegionContext({
    regionId: region.id,
    confVer: region.confVer,
    version: region.version,
    peer,
    clusterId: options.clusterId,
    ...options.api.context,
  });
  const added = encodeFields({
    ...fields,
    maxExecutionDurationMs: Number.isFinite(maxExecutionMs) ? Math.ceil(maxExecutionMs) : 0,
    isRetryRequest: isRetry,
    bucketsVersion,
    replicaRead: kind === "replica",
    staleRead: kind === "stale",
    busyThresholdMs,
  });
  const whole = concatBytes(fixed, added);
  if (kept === undefined || (isUsual && maxExecutionMs === options.settings.attemptTimeoutMs)) {
    const usual = isUsual ? whole : fixed;
    const context: PeerContext = {
      fixed,
      usual,
      kind,
      maxExecutionMs: isUsual ? maxExecutionMs : -1,
      bucketsVersion,
    };
    peer.context = context;
  }
  return whole;
}

function timeoutOf({ settings }: SenderOptions, name: CommandName): number {
  return LONG_COMMANDS.has(name) ? settings.longAttemptTimeoutMs : settings.attemptTimeoutMs;
}

/** Requests that walk a whole region. */
const LONG_COMMANDS: ReadonlySet<CommandName> = new Set<CommandName>([
  "RawDeleteRange",
  "RawChecksum",
  "RawCoprocessor",
  "Coprocessor",
  "KvDeleteRange",
  "KvGC",
  "KvScanLock",
  "KvFlashbackToVersion",
  "KvPrepareFlashbackToVersion",
  "UnsafeDestroyRange",
  "SplitRegion",
  "Compact",
]);
