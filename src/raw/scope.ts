// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { shortKey } from "../bytes/hex.ts";
import { nameOf } from "../bytes/utf8.ts";
import { TikvError } from "../errors.ts";
import { checkNames } from "../options.ts";
import { assertKeySize } from "../plan/key_size.ts";
import { narrowDefaults, runOperation, type Session } from "../plan/session.ts";
import type { CallOptions } from "../types.ts";

/** Options that hold for every call of a view. */
export interface ViewOptions extends CallOptions {
  /**
   * The column family: `"default"`, `"write"` or `"lock"`, in API version 1 only.
   *
   * @default {"default"}
   */
  readonly columnFamily?: string | undefined;
}

/** The settings of one view: what its calls start with. Immutable. */
export interface RawScope {
  readonly session: Session;
  readonly defaults: CallOptions;
  /** Absent or empty for the default one, as the wire has it. */
  readonly columnFamily: string | undefined;
  /** Writes take part in the latches of compare-and-swap. */
  readonly isAtomic: boolean;
}

/** The scope of a new client. */
export function rootScope(session: Session, defaults: CallOptions): RawScope {
  return { session, defaults, columnFamily: undefined, isAtomic: false };
}

/** The same scope with other defaults; what is not given stays as it is. */
export function narrowScope(scope: RawScope, options: ViewOptions): RawScope {
  checkNames("the options of a view", options, VIEW_NAMES);
  // The default family has no name on the wire, where API version 2 refuses every other.
  const columnFamily = options.columnFamily === DEFAULT_FAMILY ? "" : options.columnFamily;
  if (columnFamily !== undefined && typeof columnFamily !== "string") {
    throw new TypeError(`Cannot use ${nameOf(columnFamily)} as "columnFamily": expected a string`);
  }
  return {
    ...scope,
    defaults: narrowDefaults(scope.defaults, options),
    columnFamily: columnFamily ?? scope.columnFamily,
  };
}

/** Does the work of a public call. */
export function runCall<T>(
  { session, defaults }: RawScope,
  name: string,
  { options, work }: {
    readonly options: CallOptions | undefined;
    readonly work: (operation: Operation) => Promise<T>;
  },
): Promise<T> {
  return runOperation(session, { name, options, defaults }, work);
}

/** Refuses an entry that no store takes. */
export function assertEntrySize(scope: RawScope, key: Uint8Array, value: Uint8Array): void {
  const { settings } = scope.session;
  assertKeySize(settings, key);
  const { maxEntryBytes, revealKeys } = settings;
  const size = key.length + value.length;
  if (size <= maxEntryBytes) return;
  const shown = shortKey(key, revealKeys);
  throw new TikvError(
    "too-large",
    `Cannot write key ${shown}: it has ${size} bytes with its value, the limit is ${maxEntryBytes} ("maxEntryBytes")`,
  );
}

const DEFAULT_FAMILY = "default";
const VIEW_NAMES: ReadonlySet<string> = new Set(["timeoutMs", "signal", "columnFamily"]);
