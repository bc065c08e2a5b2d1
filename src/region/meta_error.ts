// SPDX-License-Identifier: Apache-2.0

import { type ErrorKind, TikvError } from "../errors.ts";

/** Tells whether asking PD again for a region or a store cannot help. */
export function isFinalMetaError(error: unknown): boolean {
  // What is no error of ours is a mistake in the program.
  return !TikvError.is(error) || FINAL.has(error.kind);
}

const FINAL: ReadonlySet<ErrorKind> = new Set<ErrorKind>([
  "closed",
  "misuse",
  "unsupported",
  "protocol",
  // Keys of regions that cannot be read will not get better, see KS-006.
  "codec",
  "mixed-mode",
  "keyspace-not-found",
  "cluster-mismatch",
  "tls",
]);
