// SPDX-License-Identifier: Apache-2.0

import { Background } from "../async/background.ts";
import type { Environment } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import type { Operation } from "../async/operation.ts";
import { SingleFlight } from "../async/single_flight.ts";
import type { Observer } from "../observe/events.ts";
import type { MetaSource, StoreMeta } from "./meta.ts";
import { isFinalMetaError } from "./meta_error.ts";
import { Slowness } from "./slow_score.ts";
import { CachedStore, type Liveness } from "./store.ts";

/** Options of a new {@linkcode StoreCache}. */
export interface StoreCacheOptions {
  readonly meta: Pick<MetaSource, "store" | "stores">;
  readonly environment: Environment;
  readonly settings: {
    readonly pdTimeoutMs: number;
    /** 0 takes every store for dead after a lost connection, without asking it. */
    readonly storeLivenessTimeoutMs: number;
    readonly storesRefreshMs: number;
  };
  readonly observe: Observer;
  /** Asks the server at an address whether it is alive. */
  readonly probe: (address: string, deadline: Deadline) => Promise<Liveness>;
  /** Asks a store how slow it is. */
  readonly askSlowness?: ((store: CachedStore, deadline: Deadline) => Promise<number>) | undefined;
  /** Drops the connections to an address that is no store's any more. */
  readonly closeAddress: (address: string) => void;
}

/**
 * Where the stores are and whether they live. Stores are looked up when they are first needed, all
 * known ones are read again at an interval, and one that does not answer is watched until it does.
 */
export class StoreCache {
  readonly #options: StoreCacheOptions;
  readonly #stores = new Map<bigint, CachedStore>();
  readonly #resolving = new SingleFlight<bigint, CachedStore>();
  readonly #probing = new SingleFlight<CachedStore, Liveness>();
  readonly #watched = new Map<CachedStore, () => void>();
  readonly #background: Background;
  #isRefreshing = false;

  constructor(options: StoreCacheOptions) {
    this.#options = options;
    this.#background = new Background((name, cause) => {
      options.observe({ type: "warning", message: `Cannot ${name}`, cause });
    });
  }

  /** The store if it was looked up before; it may be a tombstone. */
  peek(storeId: bigint): CachedStore | undefined {
    const store = this.#stores.get(storeId);
    return store === undefined || store.state === "unresolved" ? undefined : store;
  }

  /** All stores that were looked up. */
  all(): CachedStore[] {
    return [...this.#stores.values()].filter((store) => store.state !== "unresolved");
  }

  /** The store, looked up as often as the operation's deadline allows. A removed one is a tombstone. */
  async get(storeId: bigint, operation: Operation): Promise<CachedStore> {
    for (;;) {
      try {
        return this.peek(storeId) ?? await this.resolve(storeId, operation.deadline);
      } catch (error) {
        if (operation.deadline.isOver() || isFinalMetaError(error)) throw error;
        await operation.backoffs.wait("pdRPC", error, { storeId });
      }
    }
  }

  /** As {@linkcode StoreCache.get}, but asks PD once. */
  async resolve(storeId: bigint, deadline: Deadline): Promise<CachedStore> {
    const known = this.peek(storeId);
    if (known !== undefined) return known;
    return await this.#read(storeId, deadline);
  }

  /** Reads a store again soon, because an answer showed that something about it has changed. */
  markNeedsCheck(store: CachedStore): void {
    if (!store.moveTo("needs-check")) return;
    this.#background.start(`look up store ${store.id} again`, async (signal) => {
      await this.#read(store.id, this.#deadline(signal));
    });
  }

  /**
   * Finds out whether a store lives after a request to it was lost. If not, the regions that use
   * it are told by its epoch, unless `keepsEpoch`, PD is asked for its address, and it is watched
   * from now on.
   */
  async onSendFailure(
    store: CachedStore,
    deadline: Deadline,
    { keepsEpoch = false }: { readonly keepsEpoch?: boolean } = {},
  ): Promise<Liveness> {
    if (store.liveness !== "reachable") return store.liveness;
    const liveness = await this.#probing.run(store, {
      deadline,
      what: `ask store ${store.id} whether it is alive`,
      run: (signal) => this.#probe(store, signal),
    });
    if (liveness !== "reachable" && store.liveness === "reachable") this.#lose(store, liveness, keepsEpoch);
    return store.liveness;
  }

  /** Gives a store up without asking it: its regions have to be loaded again. */
  invalidate(store: CachedStore): void {
    store.epoch++;
    this.markSlow(store);
    this.markNeedsCheck(store);
  }

  /** Tells whether a store is so slow that reads had better go elsewhere; asks it once in a while. */
  isSlow(store: CachedStore): boolean {
    const { slowness } = store;
    if (slowness === undefined) return false;
    const now = this.#now();
    if (!slowness.isSlow(now)) return false;
    const { askSlowness } = this.#options;
    if (askSlowness !== undefined && store.liveness === "reachable" && slowness.takeQuestion(now)) {
      this.#background.start(`ask store ${store.id} how slow it is`, async (signal) => {
        slowness.report(await askSlowness(store, this.#deadline(signal)), this.#now());
      });
    }
    return true;
  }

  /** Takes over how slow a store says it is, from 1 to 100. */
  onSlowScore(storeId: bigint, score: number): void {
    const store = this.#stores.get(storeId);
    // Most stores are well all the time: nothing is kept of them.
    if (store === undefined || (score <= 1 && store.slowness === undefined)) return;
    this.#slownessOf(store).report(score, this.#now());
  }

  /** Counts how long a read took, for the slowness of the store. */
  recordRead(store: CachedStore, durationMs: number): void {
    this.#slownessOf(store).record(durationMs, this.#now());
  }

  /** Lets reads that can go elsewhere for a while. */
  markSlow(store: CachedStore): void {
    this.#slownessOf(store).markSlow(this.#now());
  }

  /** Ends everything that runs in the background. Idempotent. */
  async close(): Promise<void> {
    this.#background.abort();
    for (const stop of this.#watched.values()) stop();
    this.#watched.clear();
    await this.#background.close(Deadline.after(this.#options.environment.clock, 0));
  }

  #slownessOf(store: CachedStore): Slowness {
    return store.slowness ??= new Slowness(this.#now());
  }

  #now(): number {
    return this.#options.environment.clock.now();
  }

  async #read(storeId: bigint, deadline: Deadline): Promise<CachedStore> {
    return await this.#resolving.run(storeId, {
      deadline,
      what: `look up store ${storeId}`,
      run: async (signal) => {
        const meta = await this.#options.meta.store(storeId, { deadline: this.#deadline(signal) });
        return this.#take(storeId, meta);
      },
    });
  }

  // The one place where an answer of PD changes a store.
  #take(storeId: bigint, meta: StoreMeta | undefined): CachedStore {
    const { observe, closeAddress } = this.#options;
    const store = this.#stores.get(storeId) ?? new CachedStore(storeId);
    this.#stores.set(storeId, store);
    if (!this.#isRefreshing) this.#startRefreshing();
    const before = store.address;
    if (meta === undefined || meta.state === "tombstone") {
      if (store.moveTo("tombstone")) {
        store.epoch++;
        this.#stopWatching(store);
        observe({ type: "store", storeId, state: "removed", address: before });
        if (before !== "") closeAddress(before);
      }
      return store;
    }
    // A store that joins: whoever needs it asks again.
    if (meta.address === "") return store;
    // The epoch stays: regions keep the store, whose next request goes to the new address. What is
    // open to the old one would only be found out by a store-not-match error.
    if (store.update(meta)) {
      observe({ type: "store", storeId, state: "moved", address: meta.address });
      closeAddress(before);
      if (this.#watched.has(store)) this.#watch(store, 0);
    }
    store.moveTo("resolved");
    return store;
  }

  async #probe(store: CachedStore, signal: AbortSignal): Promise<Liveness> {
    const { environment, settings, probe } = this.#options;
    if (!store.hasAddress) return "unknown";
    if (settings.storeLivenessTimeoutMs === 0) return "unreachable";
    const deadline = Deadline.after(environment.clock, settings.storeLivenessTimeoutMs, signal);
    try {
      return await probe(store.address, deadline);
    } catch (error) {
      if (signal.aborted) throw error;
      // Whatever kept the probe from an answer keeps requests from one too.
      return "unreachable";
    }
  }

  #lose(store: CachedStore, liveness: Liveness, keepsEpoch: boolean): void {
    store.liveness = liveness;
    this.markSlow(store);
    this.#options.observe({
      type: "store",
      storeId: store.id,
      state: "unreachable",
      address: store.address,
    });
    if (!keepsEpoch) store.epoch++;
    this.markNeedsCheck(store);
    this.#watch(store, WATCH_MS);
  }

  // Probes once after `ms`, and goes on until the store answers or is removed.
  #watch(store: CachedStore, ms: number, rounds = 1): void {
    this.#stopWatching(store);
    if (this.#background.signal.aborted) return;
    const timer = this.#options.environment.clock.timer(ms, () => {
      this.#watched.set(store, () => {});
      this.#background.start(`watch store ${store.id}`, async (signal) => {
        const address = store.address;
        const liveness = await this.#probe(store, signal);
        if (store.state === "tombstone") return;
        // It moved meanwhile: the answer is about an address that does not matter any more.
        if (address !== store.address) return this.#watch(store, 0);
        store.liveness = liveness;
        if (liveness === "reachable") {
          this.#stopWatching(store);
          this.#options.observe({ type: "store", storeId: store.id, state: "reachable", address });
          return;
        }
        this.#watch(store, WATCH_MS, rounds + 1);
        if (rounds === 1 || rounds % RESOLVE_ROUNDS === 0) await this.#read(store.id, this.#deadline(signal));
      });
    }, { background: true });
    this.#watched.set(store, () => timer.cancel());
  }

  #stopWatching(store: CachedStore): void {
    this.#watched.get(store)?.();
    this.#watched.delete(store);
  }

  #startRefreshing(): void {
    const periodMs = this.#options.settings.storesRefreshMs / 4;
    if (periodMs === 0 || periodMs === Infinity) return;
    this.#isRefreshing = this.#background.start("refresh the stores", async (signal) => {
      while (!signal.aborted) {
        await backgroundSleep(this.#options.environment.clock, periodMs, signal);
        try {
          await this.#refresh(signal);
        } catch (cause) {
          if (signal.aborted) return;
          this.#options.observe({ type: "warning", message: "Cannot refresh the stores", cause });
        }
      }
    });
  }

  // One question for all stores instead of one for each; what is missing in the answer is asked for.
  async #refresh(signal: AbortSignal): Promise<void> {
    const metas = await this.#options.meta.stores({ deadline: this.#deadline(signal) });
    const listed = new Set<bigint>();
    for (const meta of metas) {
      listed.add(meta.id);
      if (meta.address !== "" || meta.state === "tombstone") this.#take(meta.id, meta);
    }
    for (const store of this.all()) {
      if (!listed.has(store.id) && store.state !== "tombstone") {
        await this.#read(store.id, this.#deadline(signal));
      }
    }
  }

  #deadline(signal: AbortSignal): Deadline {
    const { environment, settings } = this.#options;
    return Deadline.after(environment.clock, META_TRIES * settings.pdTimeoutMs, signal);
  }
}

// Resolves after `ms`, rejects when it has to end before; does not keep the process alive.
function backgroundSleep(clock: Environment["clock"], ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      timer.cancel();
      reject(signal.reason);
    };
    const timer = clock.timer(ms, () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, { background: true });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

// client-go's loop (`startHealthCheckLoop`) probes every second as well, but asks PD each half minute
// only: a store that came back at another address would be out of reach for so long.
const WATCH_MS = 1_000;
const RESOLVE_ROUNDS = 3;
// Time for PD to be asked at another member when one does not answer.
const META_TRIES = 3;
