// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";

/** The two kinds of data that a cluster can have. */
export type DataMode = "raw" | "txn";

/**
 * Keeps raw data and transactions apart in a cluster of API version 1. Both would use the same keys
 * there, write over each other, and cut regions at keys that the other cannot read.
 */
export class ModeGuard {
  readonly #fixed: DataMode | undefined;
  readonly #allowsBoth: boolean;
  #first: DataMode | undefined;

  /**
   * @param mode what the user says that there is; the first use decides when that is nothing
   * @param hasOwnKeys whether each kind has keys of its own, as in API version 2
   */
  constructor(mode: DataMode | "mixed" | undefined, hasOwnKeys: boolean) {
    this.#fixed = mode === "mixed" ? undefined : mode;
    this.#allowsBoth = mode === "mixed" || (hasOwnKeys && mode === undefined);
  }

  /** The kind whose keys PD is asked with. */
  get mode(): DataMode {
    return this.#fixed ?? this.#first ?? "raw";
  }

  /** Notes that one kind is used, or refuses it. */
  use(mode: DataMode): void {
    const first = this.#fixed ?? (this.#first ??= mode);
    if (first === mode || this.#allowsBoth) return;
    const reason = this.#fixed === undefined
      ? `it has used ${NAMES[first]} before, and in API version 1 both would share their keys`
      : `it was connected with "mode" "${first}"`;
    throw new TikvError(
      "unsupported",
      `Cannot use ${NAMES[mode]} with this client: ${reason}; expected one kind only, or "mode" "mixed"`,
    );
  }
}

const NAMES: Readonly<Record<DataMode, string>> = { raw: "raw data", txn: "transactions" };
