// SPDX-License-Identifier: Apache-2.0
// Reads at one timestamp, in bytes.

import type { Operation } from "../../async/operation.ts";
import { KeyMap } from "../../bytes/key_map.ts";
import { TikvError } from "../../errors.ts";
import type { Session } from "../../plan/session.ts";
import type { STALE } from "../../region/stale.ts";
import type { RequestOptions } from "../../region/request.ts";
import type { Entry, Timestamp } from "../../types.ts";
import { keyErrorOf } from "../locks/key_error.ts";
import { KnownLocks } from "./known_locks.ts";
import { MAX_TS } from "../locks/lock_calls.ts";
import type { LockClock } from "../locks/lock_clock.ts";
import type { LockResolver } from "../locks/lock_resolver.ts";
import type { RoutedRequest } from "./read_route.ts";
import type { SafePoint } from "./safe_point.ts";
import { batchGetFromStores } from "./snapshot_batch.ts";
import { SnapshotCache, type Versioned } from "./snapshot_cache.ts";
import { getFromStore } from "./snapshot_get.ts";
import type { SnapshotSettings } from "./snapshot_options.ts";
import { type PageCalls, scanSnapshot, type SnapshotScan } from "./snapshot_scan.ts";
import type { StaleTime } from "./stale_time.ts";

export type { Versioned } from "./snapshot_cache.ts";

/** What snapshots of a client share. */
export interface SnapshotParts {
  readonly session: Session;
  readonly locks: LockResolver;
  readonly safePoint: SafePoint;
  readonly clock: Pick<LockClock, "assertPast">;
  readonly staleTime: Pick<StaleTime, "ago" | "newest">;
}

/** What is wanted of a value besides the value. */
export interface ReadFacts {
  /** The timestamp from which on it is visible. */
  readonly needsCommitTs?: boolean | undefined;
  /** The keys were locked a moment ago. */
  readonly hasMetLock?: boolean | undefined;
}

/** Which of the requests of a read one is. */
export interface RequestTurn extends RoutedRequest {
  /** Nothing of the read was sent before. */
  readonly isFirst: boolean;
  /** What the read knows of locks; what the snapshot does when absent. */
  readonly known?: KnownLocks | undefined;
}

/**
 * The reads of one snapshot, with what it knows of locks. That holds for its timestamp only, so that
 * another one has reads of its own.
 */
export class SnapshotReads {
  readonly ts: Timestamp;
  readonly parts: SnapshotParts;
  readonly settings: SnapshotSettings;
  /** Absent where what was read need not stay true. */
  readonly cache: SnapshotCache | undefined;
  readonly #known: KnownLocks;
  #isPast = false;

  constructor(parts: SnapshotParts, ts: Timestamp, settings: SnapshotSettings) {
    this.ts = ts;
    this.parts = parts;
    this.settings = settings;
    this.cache = this.isLatest || settings.cacheBytes === 0
      ? undefined
      : new SnapshotCache(settings.cacheBytes);
    this.#known = new KnownLocks(settings.context);
  }

  /** Each read sees the newest that is committed when it gets there. */
  get isLatest(): boolean {
    return this.ts === MAX_TS;
  }

  /** The value of a key; undefined if there is none. */
  async get(key: Uint8Array, operation: Operation): Promise<Uint8Array | undefined> {
    return (await this.getVersioned(key, operation))?.value;
  }

  /** The values of keys. Those that do not exist are not in the map. */
  async batchGet(
    keys: readonly Uint8Array[],
    operation: Operation,
    facts?: ReadFacts,
  ): Promise<KeyMap<Uint8Array>> {
    return (await this.batchGetVersioned(keys, operation, facts)).mapValues(({ value }) => value);
  }

  /** The pages of a range, read one ahead. */
  scanPages(scan: SnapshotScan, calls: PageCalls): AsyncGenerator<readonly Entry[], void, undefined> {
    return scanSnapshot(this, scan, calls);
  }

  /** As {@linkcode SnapshotReads.get}, with the facts that are asked for. */
  async getVersioned(
    key: Uint8Array,
    operation: Operation,
    { needsCommitTs = false }: ReadFacts = {},
  ): Promise<Versioned | undefined> {
    const known = this.cache?.get(key, needsCommitTs);
    if (known !== undefined) {
      this.settings.details?.addCacheHits(1);
      return known.value === undefined ? undefined : { value: known.value, commitTs: known.commitTs };
    }
    const { safePoint } = this.parts;
    try {
      const preparing = this.prepare(operation);
      if (preparing !== undefined) await preparing;
      const found = await getFromStore(this, key, { operation, needsCommitTs });
      const checking = safePoint.check(this.ts, operation);
      if (checking !== undefined) await checking;
      this.cache?.set(key, found);
      return found;
    } finally {
      this.settings.details?.addWaits(operation);
    }
  }

  /** As {@linkcode SnapshotReads.batchGet}, with the facts that are asked for; in the order of the keys. */
  async batchGetVersioned(
    keys: readonly Uint8Array[],
    operation: Operation,
    facts: ReadFacts = {},
  ): Promise<KeyMap<Versioned>> {
    const { needsCommitTs = false } = facts;
    this.assertOneMoment("read several keys");
    const cache = this.cache?.sizeBytes === 0 ? undefined : this.cache;
    // Every key has its place from the start; answers come in any order.
    const found = new KeyMap<Versioned | undefined>();
    const rest: Uint8Array[] = [];
    for (const key of keys) {
      if (!found.add(key, undefined)) continue;
      const known = cache?.get(key, needsCommitTs);
      if (known === undefined) rest.push(key);
      else if (known.value !== undefined) found.set(key, { value: known.value, commitTs: known.commitTs });
    }
    const { details } = this.settings;
    details?.addCacheHits(found.size - rest.length);
    if (rest.length > 0) await this.#batchGetFresh(rest, { ...facts, found }, operation);
    return found.mapDefined((one) => one);
  }

  /** What comes before every request, so that the result can be relied on. */
  prepare(operation: Operation): void | Promise<void> {
    if (this.isLatest) return;
    this.parts.safePoint.prepare();
    if (this.#isPast) return;
    const checking = this.parts.clock.assertPast(this.ts, operation);
    if (checking !== undefined) return checking.then(() => void (this.#isPast = true));
    this.#isPast = true;
  }

  /**
   * What a new read knows of locks. A transaction that one read of the latest data was ordered before
   * may be committed by the time of the next one: each of them starts with nothing.
   */
  get known(): KnownLocks {
    return this.isLatest ? new KnownLocks(this.settings.context) : this.#known;
  }

  /** Options of a request; what is known of locks goes along. */
  requestOptions(turn: RequestTurn): RequestOptions {
    const { routes } = this.settings;
    const { context } = turn.known ?? this.#known;
    const firstAttemptTimeoutMs = turn.isFirst ? this.settings.firstAttemptTimeoutMs : undefined;
    const route = routes?.of(turn);
    if (firstAttemptTimeoutMs === undefined && route === undefined) {
      return context === undefined ? NO_OPTIONS : { context };
    }
    return { context, firstAttemptTimeoutMs, route, onAnswer: this.settings.details?.addAnswer };
  }

  /** Sends something and counts it, if somebody wants to know. */
  async counted<R extends { readonly execDetailsV2Bytes?: Uint8Array | undefined } | typeof STALE>(
    name: string,
    operation: Operation,
    send: () => Promise<R>,
  ): Promise<R> {
    const { details } = this.settings;
    if (details === undefined) return await send();
    const { clock } = operation.environment;
    const [sentAt, before] = [clock.now(), operation.attempts];
    let reply: R | undefined;
    try {
      return reply = await send();
    } finally {
      details.addReply(name, {
        attempts: operation.attempts - before,
        durationMs: clock.now() - sentAt,
        reply: typeof reply === "object" ? reply : undefined,
      });
    }
  }

  /** Refuses what would show several moments as one. */
  assertOneMoment(what: string): void {
    if (!this.isLatest) return;
    throw new TikvError("misuse", `Cannot ${what} at the latest timestamp: each would be of another moment`);
  }

  async #batchGetFresh(
    keys: readonly Uint8Array[],
    read: ReadFacts & { readonly found: KeyMap<Versioned | undefined> },
    operation: Operation,
  ): Promise<void> {
    const { safePoint } = this.parts;
    try {
      const preparing = this.prepare(operation);
      if (preparing !== undefined) await preparing;
      await batchGetFromStores(this, keys, read, operation);
      const checking = safePoint.check(this.ts, operation);
      if (checking !== undefined) await checking;
    } finally {
      this.settings.details?.addWaits(operation);
    }
    if (this.cache !== undefined) { for (const key of keys) this.cache.set(key, read.found.get(key)); }
  }

  /** The error for one of a key that is no lock. */
  errorOf(method: string, error: Parameters<typeof keyErrorOf>[0]): TikvError {
    const { revealKeys } = this.parts.session.settings;
    return keyErrorOf(error, { method, revealKeys });
  }
}

const NO_OPTIONS: RequestOptions = {};
