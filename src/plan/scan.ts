// SPDX-License-Identifier: Apache-2.0

import { prefetch } from "../async/prefetch.ts";
import type { Operation } from "../async/operation.ts";
import { compareEnds, intersect, isEmptyRange, keyAfter, type KeyRange } from "../bytes/key_range.ts";
import { compareBytes } from "../bytes/compare.ts";
import { TikvError } from "../errors.ts";
import type { Region } from "../region/region.ts";
import { STALE } from "../region/send.ts";
import type { Settings } from "../settings.ts";
import type { InSpan } from "./session.ts";
import type { RegionSource } from "./shard.ts";

/** One request of a scan: at most `limit` entries of a range that is within the region. */
export interface PageRequest {
  readonly region: Region;
  readonly range: KeyRange;
  readonly limit: number;
}

/** A page of which not everything that the store sent is an entry. */
export interface PartialPage<E> {
  readonly entries: readonly E[];
  /** The last key that the store sent; undefined when the range has no more. */
  readonly lastKey: Uint8Array | undefined;
}

/** What is read, and how. */
export interface ScanOptions<E> {
  readonly range: KeyRange;
  /** From the end of the range to its start. */
  readonly isReverse: boolean;
  /** Entries in all; `Infinity` for no limit. */
  readonly limit: number;
  /** Entries of one request; found by itself when absent. */
  readonly batchSize: number | undefined;
  /** About how many bytes a page should have. */
  readonly pageBytes: number;
  readonly regions: RegionSource;
  /** Ends the scan; what is under way is cancelled down to the wire. */
  readonly signal: AbortSignal | undefined;
  /** Begins the operation that loads one page; it has to end with the signal. */
  readonly startOperation: (signal: AbortSignal) => Operation;
  /** Does the work of one page in a span. */
  readonly inSpan?: InSpan | undefined;
  /** Sends one request. Fewer entries than `limit` mean that the range has no more. */
  readonly load: (
    page: PageRequest,
    operation: Operation,
  ) => Promise<readonly E[] | PartialPage<E> | typeof STALE>;
  /** Bytes that an entry takes in an answer. */
  readonly sizeOf: (entry: E) => number;
}

/**
 * Reads a range page by page, each from one region, and one page ahead of the caller. Pages are
 * never empty. Leaving early cancels what is under way.
 */
export function scanPages<E extends { readonly key: Uint8Array }>(
  options: ScanOptions<E>,
): AsyncGenerator<readonly E[], void, undefined> {
  const leave = new AbortController();
  const { signal } = options;
  const both = signal === undefined ? leave.signal : AbortSignal.any([signal, leave.signal]);
  const pages = prefetch(loadPages(options, both), () => leave.abort(LEFT));
  return endWith(pages, signal);
}

/** A scan that the caller aborted has to end even if the next page is there already. */
async function* endWith<T>(
  pages: AsyncGenerator<T, void, undefined>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  for await (const page of pages) {
    if (signal?.aborted) throw signal.reason;
    yield page;
  }
}

/** The same pages as {@linkcode scanPages}, each read when it is asked for. */
export async function* loadPages<E extends { readonly key: Uint8Array }>(
  options: ScanOptions<E>,
  signal: AbortSignal,
): AsyncGenerator<readonly E[], void, undefined> {
  const { isReverse } = options;
  const size = new PageSize(options);
  let rest = options.range;
  let remaining = options.limit;
  while (remaining > 0 && !isEmptyRange(rest)) {
    const operation = options.startOperation(signal);
    try {
      const load = () => loadPage(rest, { options, operation, size, remaining });
      const { range, page } = await (options.inSpan === undefined ? load() : options.inSpan(load));
      const { entries, lastKey } = page;
      remaining -= entries.length;
      const next = lastKey === undefined ? beyond(range, rest, isReverse) : after(lastKey, rest, isReverse);
      if (entries.length > 0) yield entries;
      if (next === undefined) return;
      rest = next;
    } catch (error) {
      throw operation.fail(error);
    }
  }
}

interface PageContext<E> {
  readonly options: ScanOptions<E>;
  readonly operation: Operation;
  readonly size: PageSize<E>;
  readonly remaining: number;
}

/** Loads the next page of `rest`, with as many tries as its operation allows. */
async function loadPage<E extends { readonly key: Uint8Array }>(
  rest: KeyRange,
  { options, operation, size, remaining }: PageContext<E>,
): Promise<{ range: KeyRange; page: PartialPage<E> }> {
  const { regions, isReverse } = options;
  for (;;) {
    operation.deadline.throwIfOver("scan");
    const region = isReverse
      ? await regions.locateByEnd(rest.end, operation)
      : regions.peek(rest.start) ?? await regions.locate(rest.start, operation);
    const range = intersect(region, rest);
    if (range === undefined) {
      throw new TikvError(
        "protocol",
        `Cannot scan: region ${region.id} was found for a range that it does not have`,
      );
    }
    const request = { region, range, limit: Math.min(size.keys, remaining) };
    try {
      const loaded = await options.load(request, operation);
      if (loaded === STALE) continue;
      const page = isWhole(loaded) ? pageOf(loaded, request.limit) : loaded;
      size.learn(page.entries);
      return { range, page };
    } catch (error) {
      // The same request would be too large again; a smaller one need not be.
      if (!TikvError.is(error) || error.kind !== "too-large" || !size.shrink(request.limit)) throw error;
    }
  }
}

function isWhole<E>(loaded: readonly E[] | PartialPage<E>): loaded is readonly E[] {
  return Array.isArray(loaded);
}

function pageOf<E extends { readonly key: Uint8Array }>(
  entries: readonly E[],
  limit: number,
): PartialPage<E> {
  return { entries, lastKey: entries.length < limit ? undefined : entries.at(-1)?.key };
}

/**
 * The upper bound of a reverse scan as it is sent. A store takes an empty one for "before the first
 * key", and so finds nothing. In API version 2 the keyspace has an end; before that, a key that is
 * longer than any and has the highest bytes stands for it.
 */
export function reverseBound(
  end: Uint8Array,
  { apiVersion, maxKeyBytes }: Pick<Settings, "apiVersion" | "maxKeyBytes">,
): Uint8Array {
  if (end.length > 0 || apiVersion === "v2") return end;
  return new Uint8Array(maxKeyBytes + 1).fill(0xff);
}

/** What is left when a region has no more. */
function beyond(done: KeyRange, rest: KeyRange, isReverse: boolean): KeyRange | undefined {
  if (isReverse) {
    return compareBytes(done.start, rest.start) <= 0 ? undefined : { start: rest.start, end: done.start };
  }
  return compareEnds(rest.end, done.end) <= 0 ? undefined : { start: done.end, end: rest.end };
}

/** What is left behind a key. */
function after(key: Uint8Array, rest: KeyRange, isReverse: boolean): KeyRange | undefined {
  // An exclusive end that is empty would be unbounded; nothing comes before the empty key.
  if (isReverse) return key.length === 0 ? undefined : { start: rest.start, end: key };
  return { start: keyAfter(key), end: rest.end };
}

/** How many keys to ask for: from what the entries so far weighed, and what was refused. */
class PageSize<E> {
  readonly #options: ScanOptions<E>;
  #ceiling = MAX_PAGE_KEYS;
  keys: number;

  constructor(options: ScanOptions<E>) {
    this.#options = options;
    this.keys = options.batchSize ?? FIRST_PAGE_KEYS;
  }

  learn(entries: readonly E[]): void {
    const { batchSize, pageBytes, sizeOf } = this.#options;
    if (batchSize !== undefined || entries.length === 0) return;
    let bytes = 0;
    for (const entry of entries) bytes += sizeOf(entry);
    const ideal = Math.floor(pageBytes / Math.max(1, bytes / entries.length));
    // Grows step by step: the entries that come need not be as small as those that were.
    this.keys = Math.max(1, Math.min(ideal, this.keys * 4, this.#ceiling));
  }

  /** Asks for half as much from now on; false when that is not possible. */
  shrink(refused: number): boolean {
    if (refused <= 1) return false;
    this.keys = Math.floor(refused / 2);
    this.#ceiling = this.keys;
    return true;
  }
}

const FIRST_PAGE_KEYS = 256;
// The largest page that client-go asks for (`MaxRawKVScanLimit`); stores are known to serve it.
const MAX_PAGE_KEYS = 10_240;
const LEFT = new DOMException("The scan was left before its end", "AbortError");
