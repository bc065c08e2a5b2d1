// SPDX-License-Identifier: Apache-2.0
// Scans of a transaction: what it has written itself, over what was there when it began.

import { EMPTY } from "../bytes/concat.ts";
import { compareBytes } from "../bytes/compare.ts";
import { keyAfter, type KeyRange } from "../bytes/key_range.ts";
import { ScanResult } from "../plan/scan_result.ts";
import { eitherOf, runOperation, spanFor, startOperation } from "../plan/session.ts";
import type { Entry } from "../types.ts";
import type { BufferEntry, BufferView } from "./buffer/pending_write.ts";
import type { ReadScanOptions } from "./snapshot/reader.ts";
import { type CheckedScan, checkScanOptions } from "../plan/scan_options.ts";
import type { TransactionCore } from "./transaction_core.ts";
import type { SnapshotSource } from "./transaction_reads.ts";

/** How a scan of a transaction is called. */
export interface TransactionScan {
  /** For errors and spans. */
  readonly name: string;
  readonly options: ReadScanOptions | undefined;
  readonly isKeysOnly: boolean;
  /** The writes of the transaction. */
  readonly writes: BufferView;
}

/** What a scan of a transaction finds. Reading all of it is one call, which has to be awaited. */
export class TransactionScanResult<T> extends ScanResult<T> {
  readonly #core: TransactionCore;
  readonly #name: string;

  constructor(
    core: TransactionCore,
    name: string,
    start: () => AsyncGenerator<readonly T[], void, undefined>,
  ) {
    super(start);
    this.#core = core;
    this.#name = name;
  }

  override toArray(): Promise<T[]> {
    return this.#core.call({ name: this.#name }, () => super.toArray());
  }
}
type Pages = AsyncGenerator<readonly Entry[], void, undefined>;

/** Checks a scan at once; what it returns begins one pass over the range. */
export function scanPagesOf(
  core: TransactionCore,
  range: KeyRange,
  { name, options, isKeysOnly, writes }: TransactionScan,
): () => AsyncGenerator<readonly Entry[], void, undefined> {
  const checked = checkScanOptions(options);
  const { timeoutMs, signal } = options ?? {};
  // The scan belongs to the statement that it was begun in.
  const { statement } = core;
  const read = (part: KeyRange, limit: number): Pages => {
    const { session } = core.txn;
    const defaults = core.defaults;
    const either = eitherOf(defaults.signal, signal);
    const call = { name, options: { timeoutMs } };
    const pagesOf = (source: SnapshotSource): Pages =>
      source.scanPages({ ...checked, range: part, limit, isKeysOnly }, {
        signal: either,
        inSpan: spanFor(session, name),
        startOperation: (signal) => startOperation(session, { ...call, defaults: { ...defaults, signal } }),
      });
    if (statement === undefined) return pagesOf(core.snapshot);
    const start = { ...call, defaults: { ...defaults, signal: either } };
    return (async function* (): Pages {
      yield* pagesOf(await runOperation(session, start, (operation) => statement.source(operation)));
    })();
  };
  return () => unionPages(core, range, { ...checked, name, isKeysOnly, writes, read });
}

interface UnionScan extends CheckedScan {
  readonly name: string;
  readonly isKeysOnly: boolean;
  readonly writes: BufferView;
  /** Pages of what was there when the transaction began. */
  readonly read: (range: KeyRange, limit: number) => Pages;
}

/**
 * The pages of both. Each is put together in one go when it is asked for: writes that are made while
 * one is worked on show from the next one on.
 */
async function* unionPages(
  core: TransactionCore,
  range: KeyRange,
  scan: UnionScan,
): AsyncGenerator<readonly Entry[], void, undefined> {
  let rest: KeyRange | undefined = range;
  let wanted = scan.limit;
  let remaining = scan.limit;
  while (rest !== undefined && remaining > 0) {
    const pages = scan.read(rest, wanted);
    let seen = 0;
    try {
      for (;;) {
        core.assertActive(scan.name);
        const { done, value: page } = await core.call({ name: scan.name }, () => pages.next());
        core.assertActive(scan.name);
        // Behind the last key of a page there may be more; behind the last page there is not, unless
        // the limit ended it.
        const last: Uint8Array | undefined = done === true ? undefined : page.at(-1)?.key;
        if (done === true && seen >= wanted) break;
        const part: KeyRange = last === undefined ? rest : upTo(last, rest, scan.isReverse);
        for (
          const merged of mergedPages(scan.writes, part, { ...scan, limit: remaining, page: page ?? [] })
        ) {
          remaining -= merged.length;
          yield merged;
          core.assertActive(scan.name);
        }
        if (done === true || remaining <= 0) return;
        seen += page.length;
        rest = last === undefined ? undefined : beyond(last, rest, scan.isReverse);
        if (rest === undefined) return;
      }
    } finally {
      await pages.return();
    }
    // What was deleted here made it come out short. More at a time, so that few rounds are enough.
    wanted *= 2;
  }
}

interface MergeOptions extends CheckedScan {
  readonly isKeysOnly: boolean;
  /** All that was there in the range. */
  readonly page: readonly Entry[];
}

/** What is in a range, as pages of bounded size; the caller may write between two of them. */
function* mergedPages(
  buffer: BufferView,
  range: KeyRange,
  { page, limit, batchSize = MAX_PAGE_KEYS, isReverse, isKeysOnly }: MergeOptions,
): Generator<readonly Entry[], void, undefined> {
  let rest: KeyRange | undefined = range;
  let from = 0;
  let remaining = limit;
  while (rest !== undefined && remaining > 0) {
    const merged: Entry[] = [];
    const room = Math.min(batchSize, remaining);
    const pending = buffer.entries(rest, { reverse: isReverse })[Symbol.iterator]();
    let own = pending.next();
    while (merged.length < room) {
      const there = page[from];
      const order = orderOf(own.done === true ? undefined : own.value, there, isReverse);
      if (order === undefined) break;
      if (order >= 0) from++;
      if (order > 0) {
        if (there !== undefined) merged.push(there);
        continue;
      }
      const { key, write } = own.value as BufferEntry;
      if (write.kind === "value") {
        merged.push({ key: key.slice(), value: isKeysOnly ? EMPTY : write.value.slice() });
      }
      own = pending.next();
    }
    pending.return?.(undefined);
    const last: Uint8Array | undefined = merged.at(-1)?.key;
    if (last === undefined) return;
    yield merged;
    remaining -= merged.length;
    rest = beyond(last, rest, isReverse);
  }
}

/** Below 0: the buffer's entry is next; above 0: the other one; 0: both are of one key. */
function orderOf(
  own: BufferEntry | undefined,
  there: Entry | undefined,
  isReverse: boolean,
): number | undefined {
  if (own === undefined) return there === undefined ? undefined : 1;
  if (there === undefined) return -1;
  const order = compareBytes(own.key, there.key);
  return isReverse ? -order : order;
}

/** The part of a range until a key, with it. */
function upTo(key: Uint8Array, { start, end }: KeyRange, isReverse: boolean): KeyRange {
  return isReverse ? { start: key, end } : { start, end: keyAfter(key) };
}

/** The part of a range behind a key. */
function beyond(key: Uint8Array, { start, end }: KeyRange, isReverse: boolean): KeyRange | undefined {
  // An exclusive end that is empty would be unbounded; nothing comes before the empty key.
  if (isReverse) return key.length === 0 ? undefined : { start, end: key };
  return { start: keyAfter(key), end };
}

// Entries of the buffer alone are in memory anyway; more at a time would only hold up the others.
const MAX_PAGE_KEYS = 1_024;
