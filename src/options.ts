// SPDX-License-Identifier: Apache-2.0
// Checks of what callers pass in options. A wrong type is a `TypeError`, a wrong value a
// `RangeError`; the message names the option, what it was and what it may be.

import { nameOf } from "./bytes/utf8.ts";
import type { CallOptions } from "./types.ts";

/** The options that every call has. */
export const CALL_NAMES: ReadonlySet<string> = new Set(["signal", "timeoutMs"]);

/** The bounds of a number, both allowed. */
export interface NumberRule {
  readonly min: number;
  readonly max: number;
  /** Fractions are refused. */
  readonly isWhole?: boolean | undefined;
}

/** Refuses fields that are not known, and names the nearest that is. */
export function checkNames(what: string, options: object, known: ReadonlySet<string>): void {
  if (options === null || typeof options !== "object" || Array.isArray(options)) {
    throw new TypeError(`Cannot use ${nameOf(options)} as ${what}: expected an object`);
  }
  for (const name of Object.keys(options)) {
    if (known.has(name)) continue;
    const nearest = nearestName(name, known);
    const hint = nearest === undefined ? "" : `, did you mean "${nearest}"`;
    throw new TypeError(`Cannot use ${what}: unknown option "${name}"${hint}`);
  }
}

/** Refuses options of a call that are not known; without `known`, all but those that every call has. */
export function checkCallOptions(
  options: object | undefined,
  known: ReadonlySet<string> = CALL_NAMES,
): void {
  if (options !== undefined) checkNames("the options of the call", options, known);
}

/** Checks what ends a call at once, and not first when the call begins. */
export function checkCallEnd({ signal, timeoutMs }: CallOptions): void {
  checkSignal(signal);
  if (timeoutMs !== undefined) checkTimeout("timeoutMs", timeoutMs);
}

/** What a table has for the value, which has to be one of its names. */
export function checkOneOf<T>(name: string, value: string, table: Readonly<Record<string, T>>): T {
  if (typeof value !== "string") {
    throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a string`);
  }
  if (!Object.hasOwn(table, value)) {
    const wanted = Object.keys(table).map((key) => `"${key}"`).join(", ");
    throw new RangeError(`Cannot use "${value}" as "${name}": expected one of ${wanted}`);
  }
  return table[value] as T;
}

/** Returns the value when it is a number within the rule. */
export function checkNumber(name: string, value: unknown, rule: NumberRule): number {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a number`);
  }
  const isWhole = rule.isWhole === true;
  // Written so that NaN fails it.
  if (!(value >= rule.min && value <= rule.max) || (isWhole && !Number.isInteger(value))) {
    const kind = isWhole ? "a whole number" : "a number";
    const range = rule.max === Infinity || rule.max === Number.MAX_SAFE_INTEGER
      ? `of at least ${rule.min}`
      : `from ${rule.min} to ${rule.max}`;
    throw new RangeError(`Cannot use ${value} as "${name}": expected ${kind} ${range}`);
  }
  return value;
}

/** Returns the time limit when it is one. */
export function checkTimeout(name: string, value: unknown): number {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a number of milliseconds`);
  }
  if (!(value > 0 && value < Infinity)) {
    throw new RangeError(
      `Cannot use ${value} as "${name}": expected a positive, finite number of milliseconds`,
    );
  }
  return value;
}

/** Returns the value when it is a boolean. */
export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a boolean`);
}

/** Returns labels of stores as a map; none when absent. */
export function checkLabels(name: string, labels: unknown): ReadonlyMap<string, string> {
  if (labels === undefined) return new Map();
  if (typeof labels !== "object" || labels === null || Array.isArray(labels)) {
    throw new TypeError(`Cannot use ${nameOf(labels)} as "${name}": expected an object`);
  }
  const entries = Object.entries(labels);
  for (const [key, value] of entries) {
    if (typeof value === "string") continue;
    throw new TypeError(`Cannot use ${nameOf(value)} as "${name}.${key}": expected a string`);
  }
  return new Map(entries as [string, string][]);
}

/** Refuses what is not a text; absent is allowed. */
export function checkText(name: string, value: string | undefined): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a string`);
}

/** Refuses what is not a function; absent is allowed. */
export function checkFunction(name: string, value: unknown): void {
  if (value === undefined || typeof value === "function") return;
  throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a function`);
}

/** Refuses what is not an `AbortSignal`; absent is allowed. */
export function checkSignal(value: unknown): void {
  if (value === undefined) return;
  // By structure, so that a signal of another realm or of a polyfill works too.
  if (typeof value === "object" && value !== null && "aborted" in value && "addEventListener" in value) {
    return;
  }
  throw new TypeError(`Cannot use ${nameOf(value)} as "signal": expected an AbortSignal`);
}

/** Refuses an object that lacks one of the methods; absent is allowed. */
export function checkMethods(name: string, value: unknown, methods: readonly string[]): void {
  if (value === undefined) return;
  for (const method of methods) {
    const has = typeof value === "object" && value !== null && method in value &&
      typeof (value as Record<string, unknown>)[method] === "function";
    if (!has) {
      throw new TypeError(
        `Cannot use ${nameOf(value)} as "${name}": expected an object with a method "${method}"`,
      );
    }
  }
}

/** The known name that is most like one that is not, if any is near. */
export function nearestName(name: string, known: ReadonlySet<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** How many characters have to be changed, added or removed to make `b` of `a`. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(change, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
