// SPDX-License-Identifier: Apache-2.0
// Scans in bytes: one range page by page, and several ranges at once.

import type { Operation } from "../async/operation.ts";
import type { KeyRange } from "../bytes/key_range.ts";
import { runParts } from "../plan/run.ts";
import { loadPages, type PageRequest, reverseBound, type ScanOptions, scanPages } from "../plan/scan.ts";
import { eitherOf, spanFor, startOperation } from "../plan/session.ts";
import { STALE } from "../region/send.ts";
import { COMMANDS } from "../rpc/commands.ts";
import type { CallOptions, Entry } from "../types.ts";
import type { RawScope } from "./scope.ts";
import { assertNoPairError } from "./server_error.ts";

/** What a scan reads. */
export interface RawScanSpec {
  readonly range: KeyRange;
  readonly isReverse: boolean;
  /** Values are not sent; they come back empty. */
  readonly isKeysOnly: boolean;
  readonly limit: number;
  readonly batchSize: number | undefined;
}

/** The pages of a range, read one ahead. */
export function scanRange(
  scope: RawScope,
  spec: RawScanSpec,
  call: { readonly name: string; readonly options: CallOptions | undefined },
): AsyncGenerator<readonly Entry[], void, undefined> {
  const { name, options: { timeoutMs } = {} } = call;
  const { session, defaults } = scope;
  const signal = eitherOf(defaults.signal, call.options?.signal);
  return scanPages<Entry>({
    ...cursorOf(scope, spec),
    signal,
    inSpan: spanFor(session, name),
    startOperation: (either) =>
      startOperation(session, { name, options: { timeoutMs }, defaults: { ...defaults, signal: either } }),
  });
}

/** The first entries of each range, in the order of the ranges. */
export async function scanRanges(
  scope: RawScope,
  specs: readonly RawScanSpec[],
  operation: Operation,
): Promise<Entry[][]> {
  const results: Entry[][] = specs.map(() => []);
  const parts = specs.map((spec, index) => ({ spec, index }));
  await runParts(parts, async ({ spec, index }, ofPart) => {
    const pages = loadPages<Entry>({
      ...cursorOf(scope, spec),
      signal: undefined,
      startOperation: () => ofPart,
    }, NEVER);
    for await (const page of pages) results[index]?.push(...page);
    return undefined;
  }, { operation, concurrency: scope.session.routing.concurrency });
  return results;
}

function cursorOf(
  scope: RawScope,
  spec: RawScanSpec,
): Omit<ScanOptions<Entry>, "signal" | "startOperation"> {
  const { routing, settings } = scope.session;
  return {
    range: spec.range,
    isReverse: spec.isReverse,
    limit: spec.limit,
    batchSize: spec.batchSize,
    pageBytes: settings.scanPageBytes,
    regions: routing.regions,
    load: (page, operation) => loadPage(scope, { page, spec }, operation),
    sizeOf: ({ key, value }) => key.length + value.length,
  };
}

async function loadPage(
  scope: RawScope,
  { page, spec }: { readonly page: PageRequest; readonly spec: RawScanSpec },
  operation: Operation,
): Promise<readonly Entry[] | typeof STALE> {
  const { sender } = scope.session.routing;
  const { start, end } = page.range;
  const request = sender.request(COMMANDS.RawScan, {
    // A reverse scan starts at its exclusive upper bound and ends at its lower one.
    ...(spec.isReverse
      ? { startKey: reverseBound(end, scope.session.settings), endKey: start }
      : { startKey: start, endKey: end }),
    limit: page.limit,
    keyOnly: spec.isKeysOnly,
    reverse: spec.isReverse,
    cf: scope.columnFamily,
  });
  const reply = await sender.send(page.region, request, operation);
  if (reply === STALE) return STALE;
  for (const { error } of reply.kvs) assertNoPairError("RawScan", error);
  // Pairs are entries; the view makes what the caller gets of them, which is one object less each.
  return reply.kvs;
}

// For cursors that end with their operation instead.
const NEVER = new AbortController().signal;
