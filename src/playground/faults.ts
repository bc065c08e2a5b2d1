// SPDX-License-Identifier: Apache-2.0
// Faults are rules: which calls they hit, and what happens to those. They live in the cluster;
// no client knows of them.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ErrorSchema } from "../../gen/errorpb_pb.ts";
import type { Random } from "../async/clock.ts";
import { equalBytes } from "../bytes/compare.ts";
import type { KeyInput } from "../bytes/utf8.ts";
import { toBytes } from "../bytes/utf8.ts";

/** A region error as a store answers it. */
export type RegionErrorInit = MessageInitShape<typeof ErrorSchema>;

/** A call, or one command of a batch, as rules look at it. */
export interface FaultTarget {
  /** Name of the RPC, such as `RawGet` or `GetRegion`; commands in a batch have that of their unary RPC. */
  readonly method: string;
  /** The store that was called; undefined for a member of PD. */
  readonly storeId: bigint | undefined;
  /** The name of the PD member that was called; undefined for a store. */
  readonly member: string | undefined;
  /** The region of the request, if it names one. */
  readonly regionId: bigint | undefined;
  /** The keys that the request names. */
  readonly keys: readonly Uint8Array[];
}

/** Which calls a rule hits; what is absent does not matter. */
export interface FaultMatch {
  /** One RPC, or one of several, such as `RawGet`. */
  readonly method?: string | readonly string[] | undefined;
  /** The store that is called. */
  readonly storeId?: bigint | undefined;
  /** The member of PD that is called, such as `pd-1`. */
  readonly member?: string | undefined;
  /** The region that the request names. */
  readonly regionId?: bigint | undefined;
  /** A key that the request names, without the prefix of a keyspace. */
  readonly key?: KeyInput | undefined;
  /** How many matching calls pass before the first hit. */
  readonly skip?: number | undefined;
  /** How often the rule hits before it is spent. */
  readonly times?: number | undefined;
  /** The share of matching calls that are hit, 1 by default. */
  readonly probability?: number | undefined;
}

/** What happens to a call that a rule hits. Made by {@linkcode fault}. */
export type FaultEffect =
  | { readonly type: "delay"; readonly ms: number }
  | {
    readonly type: "region-error";
    readonly error: RegionErrorInit | ((target: FaultTarget) => RegionErrorInit);
  }
  | { readonly type: "request-error"; readonly message: string }
  | { readonly type: "pd-error"; readonly code: number; readonly message: string }
  | { readonly type: "status"; readonly code: number; readonly message: string; readonly isExecuted: boolean }
  | { readonly type: "drop-request" }
  | { readonly type: "drop-reply" }
  | { readonly type: "cut"; readonly isExecuted: boolean }
  | { readonly type: "duplicate" }
  | { readonly type: "corrupt" }
  | { readonly type: "pad"; readonly bytes: number }
  | { readonly type: "unknown-id" };

/** A rule in force. Disposing of it ends it. */
export interface FaultRule extends Disposable {
  /** How many calls it has hit. */
  readonly hits: number;
  /** Whether it can still hit. */
  readonly isActive: boolean;
  /** Ends the rule. */
  remove(): void;
}

/** What the rules say about one call. */
export interface FaultPlan {
  /** How much later the call arrives. */
  readonly delayMs: number;
  /** What else happens to it. */
  readonly effect: FaultEffect | undefined;
}

/** The rules of a cluster. They are asked in the order in which they were added. */
export class Faults {
  readonly #random: Random;
  readonly #rules: Rule[] = [];

  /**
   * Starts without rules.
   *
   * @param random decides for rules with a probability
   */
  constructor(random: Random) {
    this.#random = random;
  }

  /** Puts a rule in force until it is spent, removed or disposed of. */
  add(match: FaultMatch, effect: FaultEffect): FaultRule {
    checkMatch(match);
    if (typeof effect !== "object" || effect === null || typeof effect.type !== "string") {
      throw new TypeError(`Cannot add the fault: its effect is ${String(effect)}, make one with \`fault\``);
    }
    const rule = new Rule(match, effect, () => {
      const index = this.#rules.indexOf(rule);
      if (index >= 0) this.#rules.splice(index, 1);
    });
    this.#rules.push(rule);
    return rule;
  }

  /** Removes every rule. */
  clear(): void {
    for (const rule of [...this.#rules]) rule.remove();
  }

  /**
   * Asks the rules about a call: all delays that hit add up, then the first other effect happens.
   * Returns undefined when nothing hits.
   */
  plan(target: () => FaultTarget): FaultPlan | undefined {
    if (this.#rules.length === 0) return undefined;
    const call = target();
    let delayMs = 0;
    let effect: FaultEffect | undefined;
    let hasHit = false;
    for (const rule of [...this.#rules]) {
      if (effect !== undefined && rule.effect.type !== "delay") continue;
      if (!rule.hit(call, this.#random)) continue;
      hasHit = true;
      if (rule.effect.type === "delay") delayMs += rule.effect.ms;
      else effect = rule.effect;
    }
    return hasHit ? { delayMs, effect } : undefined;
  }
}

class Rule implements FaultRule {
  readonly effect: FaultEffect;
  readonly #match: FaultMatch;
  readonly #key: Uint8Array | undefined;
  readonly #methods: ReadonlySet<string> | undefined;
  readonly #detach: () => void;
  #seen = 0;
  #hits = 0;
  #isActive = true;

  constructor(match: FaultMatch, effect: FaultEffect, detach: () => void) {
    this.#match = match;
    this.effect = effect;
    this.#detach = detach;
    this.#key = match.key === undefined ? undefined : toBytes(match.key);
    const { method } = match;
    this.#methods = method === undefined
      ? undefined
      : new Set(typeof method === "string" ? [method] : method);
  }

  get hits(): number {
    return this.#hits;
  }

  get isActive(): boolean {
    return this.#isActive;
  }

  remove(): void {
    this.#isActive = false;
    this.#detach();
  }

  [Symbol.dispose](): void {
    this.remove();
  }

  hit(target: FaultTarget, random: Random): boolean {
    const { storeId, member, regionId, skip = 0, times = Infinity, probability = 1 } = this.#match;
    if (this.#methods !== undefined && !this.#methods.has(target.method)) return false;
    if (storeId !== undefined && storeId !== target.storeId) return false;
    if (member !== undefined && member !== target.member) return false;
    if (regionId !== undefined && regionId !== target.regionId) return false;
    const key = this.#key;
    if (key !== undefined && !target.keys.some((other) => isSameKey(key, other))) return false;
    this.#seen++;
    if (this.#seen <= skip) return false;
    if (probability < 1 && random.next() >= probability) return false;
    this.#hits++;
    if (this.#hits >= times) this.remove();
    return true;
  }
}

/** Bytes that API V2 puts in front of a key: the mode and the id of the keyspace. */
const KEYSPACE_PREFIX_BYTES = 4;

function isSameKey(wanted: Uint8Array, seen: Uint8Array): boolean {
  return equalBytes(wanted, seen) || equalBytes(wanted, seen.subarray(KEYSPACE_PREFIX_BYTES));
}

const MATCH_NAMES: ReadonlySet<string> = new Set<keyof FaultMatch>([
  "method",
  "storeId",
  "member",
  "regionId",
  "key",
  "skip",
  "times",
  "probability",
]);

// A rule that can never hit, or hits everything by mistake, would let a test pass for nothing.
function checkMatch(match: FaultMatch): void {
  for (const name of Object.keys(match)) {
    if (!MATCH_NAMES.has(name)) {
      const known = [...MATCH_NAMES].join(", ");
      throw new TypeError(`Cannot add the fault: "${name}" is not known, expected some of ${known}`);
    }
  }
  for (const name of ["skip", "times"] as const) {
    const value = match[name];
    if (value !== undefined && !(Number.isInteger(value) && value >= 0)) {
      throw new RangeError(`Cannot add the fault: "${name}" is ${value}, expected a whole number from 0`);
    }
  }
  const { probability = 1 } = match;
  if (!(probability >= 0 && probability <= 1)) {
    throw new RangeError(`Cannot add the fault: "probability" is ${probability}, expected 0 to 1`);
  }
}
