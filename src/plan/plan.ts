// SPDX-License-Identifier: Apache-2.0

import { KeySet } from "../bytes/key_map.ts";
import { type KeyRange, type RangeInput, toRange } from "../bytes/key_range.ts";
import { type KeyInput, nameOf, toBytes } from "../bytes/utf8.ts";
import { TikvError } from "../errors.ts";
import { checkCallOptions, checkNumber } from "../options.ts";
import type { Operation } from "../async/operation.ts";
import { STALE } from "../region/send.ts";
import type { Region } from "../region/region.ts";
import type { Command } from "../rpc/commands.ts";
import type { CallOptions } from "../types.ts";
import { collect, type Merge } from "./merge.ts";
import { runParts } from "./run.ts";
import { runOperation, type Session } from "./session.ts";
import { cutByCount, shardItems, shardRange } from "./shard.ts";

/** A plan that has a request but no target yet. */
export interface PlanStart<I, O> {
  /**
   * Sends the request to every region of a range. `bodyOf` adds what differs: the part of the range
   * that the region has.
   */
  toRegionsOf(range: RangeInput, bodyOf: (range: KeyRange) => Partial<I>): Plan<O, O[]>;
  /** Sends the request to the region of each key, with the keys that are in it. */
  toKeys(keys: Iterable<KeyInput>, bodyOf: (keys: readonly Uint8Array[]) => Partial<I>): Plan<O, O[]>;
  /** Sends the request to every store that is up. */
  toStores(): Plan<O, O[]>;
}

/** A plan with a target: `O` is the reply of each part, `A` the result. Immutable. */
export interface Plan<O, A> {
  /**
   * Looks a region up again, and sends that part again, when it has split or moved. Without this
   * the plan fails with `region-unavailable`.
   */
  retryRegionErrors(): Plan<O, A>;
  /**
   * How many parts are under way at a time.
   *
   * @param parts the default is `maxConcurrentParts` of the client
   */
  concurrency(parts: number): Plan<O, A>;
  /**
   * Combines the replies, in the order in which they come, instead of collecting them in a list.
   * `initial` must not be changed by `step`.
   */
  merge<B>(initial: B, step: (result: B, reply: O) => B): Plan<O, B>;
  /** Sends everything and resolves with the result. The first failure ends the rest. */
  run(options?: CallOptions): Promise<A>;
}

/** Sends a request that is not for a region to one store. */
export interface StoreTargets {
  /** The stores that are up. */
  list(operation: Operation): Promise<readonly PlanStore[]>;
  send<I, O>(store: PlanStore, request: StoreRequest<I, O>, operation: Operation): Promise<O>;
}

/** A store that a plan can send to. */
export interface PlanStore {
  readonly id: bigint;
  readonly address: string;
}

/** A request as it goes to a store as a whole. */
export interface StoreRequest<I, O> {
  readonly command: Command<I, O>;
  readonly body: I;
}

/** What plans are made with. */
export interface PlanContext {
  readonly session: Session;
  readonly stores: StoreTargets;
  readonly defaults: CallOptions;
}

/** Begins a plan for a request; see {@linkcode PlanStart}. */
export function createPlan<I, O>(
  context: PlanContext,
  command: Command<I, O>,
  body: Partial<I>,
): PlanStart<I, O> {
  if (typeof command !== "object" || command === null || typeof command.encode !== "function") {
    throw new TypeError(`Cannot plan ${nameOf(command)}: expected one of the requests in "Kv"`);
  }
  if (typeof body !== "object" || body === null) {
    throw new TypeError(`Cannot use ${nameOf(body)} as the body of ${command.name}: expected an object`);
  }
  // The two halves of a body make a whole one; the caller's types see to that.
  const whole = (rest: Partial<I>): I => ({ ...body, ...rest }) as I;
  const plan = (target: Target<O>): Plan<O, O[]> =>
    new PlanBuilder(context, { command, target }, planDefaults(collect<O>()));
  return {
    toRegionsOf: (range, bodyOf) =>
      plan(regionsTarget(context, { command, range: toRange(range), bodyOf, whole })),
    toKeys: (keys, bodyOf) => {
      const distinct = [...new KeySet([...keys].map(toBytes))];
      return plan(keysTarget(context, { command, keys: distinct, bodyOf, whole }));
    },
    toStores: () => plan(storesTarget(context, { command, body: whole({}) })),
  };
}

/** One request of a plan, with what becomes of it when its region has changed. */
interface Part<O> {
  /** Absent for a range whose regions are not looked up yet. */
  readonly send?: ((operation: Operation) => Promise<O | typeof STALE>) | undefined;
  again(operation: Operation): Promise<readonly Part<O>[]>;
}

type Target<O> = (operation: Operation) => Promise<readonly Part<O>[]>;

interface PlanOptions<O, A> {
  readonly isRetried: boolean;
  readonly parts: number | undefined;
  readonly merge: Merge<A, O>;
}

function planDefaults<O, A>(merge: Merge<A, O>): PlanOptions<O, A> {
  return { isRetried: false, parts: undefined, merge };
}

class PlanBuilder<O, A> implements Plan<O, A> {
  readonly #context: PlanContext;
  readonly #what: { readonly command: { readonly name: string }; readonly target: Target<O> };
  readonly #options: PlanOptions<O, A>;

  constructor(
    context: PlanContext,
    what: { readonly command: { readonly name: string }; readonly target: Target<O> },
    options: PlanOptions<O, A>,
  ) {
    this.#context = context;
    this.#what = what;
    this.#options = options;
  }

  retryRegionErrors(): Plan<O, A> {
    return new PlanBuilder(this.#context, this.#what, { ...this.#options, isRetried: true });
  }

  concurrency(parts: number): Plan<O, A> {
    checkNumber("concurrency", parts, { min: 1, max: Number.MAX_SAFE_INTEGER, isWhole: true });
    return new PlanBuilder(this.#context, this.#what, { ...this.#options, parts });
  }

  merge<B>(initial: B, step: (result: B, reply: O) => B): Plan<O, B> {
    if (typeof step !== "function") {
      throw new TypeError(`Cannot merge with ${nameOf(step)}: expected a function`);
    }
    const merge: Merge<B, O> = { initial: () => initial, step };
    return new PlanBuilder(this.#context, this.#what, { ...this.#options, merge });
  }

  async run(options?: CallOptions): Promise<A> {
    checkCallOptions(options);
    const { session, defaults } = this.#context;
    const { command, target } = this.#what;
    const { isRetried, merge, parts } = this.#options;
    const concurrency = parts ?? session.routing.concurrency;
    let result = merge.initial();
    await runOperation(session, { name: `plan.${command.name}`, options, defaults }, async (operation) => {
      await runParts(await target(operation), async (part, ofPart) => {
        if (part.send === undefined) return await part.again(ofPart);
        const reply = await part.send(ofPart);
        if (reply !== STALE) {
          result = merge.step(result, reply);
          return undefined;
        }
        if (isRetried) return await part.again(ofPart);
        throw new TikvError(
          "region-unavailable",
          `Cannot send ${command.name}: its region has split or moved`,
        );
      }, { operation, concurrency });
    });
    return result;
  }
}

function regionsTarget<I, O>(
  { session }: PlanContext,
  { command, range, bodyOf, whole }: {
    readonly command: Command<I, O>;
    readonly range: KeyRange;
    readonly bodyOf: (range: KeyRange) => Partial<I>;
    readonly whole: (rest: Partial<I>) => I;
  },
): Target<O> {
  const { regions, sender } = session.routing;
  const partsOf = async (of: KeyRange, operation: Operation): Promise<Part<O>[]> => {
    const parts = await shardRange(of, regions, operation);
    return parts.map(({ region, range: part }) => ({
      send: region === undefined
        ? undefined
        : (operation) => sender.send(region, sender.request(command, whole(bodyOf(part))), operation),
      again: (operation) => partsOf(part, operation),
    }));
  };
  return (operation) => partsOf(range, operation);
}

function keysTarget<I, O>(
  { session }: PlanContext,
  { command, keys, bodyOf, whole }: {
    readonly command: Command<I, O>;
    readonly keys: readonly Uint8Array[];
    readonly bodyOf: (keys: readonly Uint8Array[]) => Partial<I>;
    readonly whole: (rest: Partial<I>) => I;
  },
): Target<O> {
  const { regions, sender } = session.routing;
  const partOf = (region: Region, items: readonly Uint8Array[]): Part<O> => ({
    send: (operation) => sender.send(region, sender.request(command, whole(bodyOf(items))), operation),
    again: (operation) => partsOf(items, operation),
  });
  const partsOf = async (of: readonly Uint8Array[], operation: Operation): Promise<Part<O>[]> => {
    const cut = (items: readonly Uint8Array[]) => cutByCount(items, KEYS_PER_REQUEST);
    const parts = await shardItems(of, { regions, operation, keyOf: (key) => key, cut });
    return parts.map(({ region, items }) => partOf(region, items));
  };
  return (operation) => partsOf(keys, operation);
}

function storesTarget<I, O>({ stores }: PlanContext, request: StoreRequest<I, O>): Target<O> {
  return async (operation) => {
    const list = await stores.list(operation);
    return list.map((store) => ({
      send: (operation) => stores.send(store, request, operation),
      again: () => Promise.resolve([]),
    }));
  };
}

// As raw batches are cut; a plan for other sizes cuts its keys itself.
const KEYS_PER_REQUEST = 512;
