// SPDX-License-Identifier: Apache-2.0
// Raw data behind the sender's interface, to see which requests the client makes of its calls.

import { compareBytes } from "../../../src/bytes/compare.ts";
import { KeyMap } from "../../../src/bytes/key_map.ts";
import { contains } from "../../../src/bytes/key_range.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import type { Session } from "../../../src/plan/session.ts";
import type { Raw } from "../../../src/raw/api.ts";
import { createRaw } from "../../../src/raw/raw.ts";
import type { BodyOf } from "../../../src/rpc/commands.ts";
import { type ClientOptions, resolveSettings } from "../../../src/settings.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { FakeRegions, type SentRequest } from "../plan/fake_regions.ts";

/** Options of {@linkcode fakeStore}. */
export interface FakeStoreOptions {
  readonly borders?: readonly string[];
  readonly client?: ClientOptions;
  /** Answers instead of the store, unless it returns undefined. */
  readonly answer?: (request: SentRequest) => unknown;
}

/** A client of raw data in memory. */
export interface FakeStore {
  readonly raw: Raw;
  readonly regions: FakeRegions;
  readonly data: KeyMap<Uint8Array>;
  readonly clock: ManualClock;
  readonly closing: AbortController;
  /** Bodies of the requests of one method. */
  bodies<C extends "RawGet" | "RawPut" | "RawBatchPut" | "RawBatchGet" | "RawScan">(
    method: C,
  ): BodyOf<C>[];
  bodiesOf(method: string): readonly Record<string, unknown>[];
}

/** Makes a store with no data. */
export function fakeStore(options: FakeStoreOptions = {}): FakeStore {
  const clock = new ManualClock();
  const data = new KeyMap<Uint8Array>();
  const regions = new FakeRegions(
    options.borders ?? [],
    (request) => options.answer?.(request) ?? answerFrom(data, request),
  );
  const closing = new AbortController();
  const session: Session = {
    routing: regions.routing,
    settings: resolveSettings({ ...options.client, environment: { clock, random: new SeededRandom(1) } }),
    closing: closing.signal,
  };
  const bodiesOf = (method: string): Record<string, unknown>[] =>
    regions.sent.filter((sent) => sent.method === method).map(({ body }) => body as Record<string, unknown>);
  return {
    raw: createRaw(session),
    regions,
    data,
    clock,
    closing,
    bodiesOf,
    bodies: (method) => bodiesOf(method) as unknown as BodyOf<typeof method>[],
  };
}

function answerFrom(data: KeyMap<Uint8Array>, { method, body }: SentRequest): unknown {
  const ok = { regionError: undefined, error: "" };
  switch (method) {
    case "RawGet": {
      const value = data.get((body as BodyOf<"RawGet">).key);
      return { ...ok, value: value ?? new Uint8Array(0), notFound: value === undefined };
    }
    case "RawPut": {
      const { key, value } = body as BodyOf<"RawPut">;
      data.set(key, value);
      return ok;
    }
    case "RawDelete":
      data.delete((body as BodyOf<"RawDelete">).key);
      return ok;
    case "RawBatchGet":
      return {
        ...ok,
        pairs: (body as BodyOf<"RawBatchGet">).keys.flatMap((key) => {
          const value = data.get(key);
          return value === undefined ? [] : [{ key, value, error: undefined }];
        }),
      };
    case "RawBatchPut":
      for (const { key, value } of (body as BodyOf<"RawBatchPut">).pairs) data.set(key, value);
      return ok;
    case "RawBatchDelete":
      for (const key of (body as BodyOf<"RawBatchDelete">).keys) data.delete(key);
      return ok;
    case "RawScan":
      return { ...ok, kvs: scan(data, body as BodyOf<"RawScan">) };
    case "RawCompareAndSwap": {
      const swap = body as BodyOf<"RawCompareAndSwap">;
      const key = swap.key as Uint8Array;
      const previous = data.get(key);
      const succeed = swap.previousNotExist === true
        ? previous === undefined
        : previous !== undefined && compareBytes(previous, swap.previousValue as Uint8Array) === 0;
      if (succeed) data.set(key, swap.value as Uint8Array);
      return {
        ...ok,
        succeed,
        previousNotExist: previous === undefined,
        previousValue: previous ?? new Uint8Array(0),
      };
    }
    default:
      return ok;
  }
}

function scan(data: KeyMap<Uint8Array>, body: BodyOf<"RawScan">): unknown[] {
  const { startKey, endKey = new Uint8Array(0), reverse = false, limit, keyOnly = false } = body;
  const range = reverse ? { start: endKey, end: startKey } : { start: startKey, end: endKey };
  const found = [...data.entries()].filter(([key]) => contains(range, key))
    .sort(([a], [b]) => compareBytes(a, b));
  if (reverse) found.reverse();
  return found.slice(0, limit).map(([key, value]) => ({
    key,
    value: keyOnly ? new Uint8Array(0) : value,
    error: undefined,
  }));
}

/** Bytes as text, for comparisons. */
export const text: (bytes: Uint8Array) => string = utf8Decode;
/** Text as bytes, for comparisons. */
export const bytes: (text: string) => Uint8Array = utf8Encode;
