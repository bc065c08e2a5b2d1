// SPDX-License-Identifier: Apache-2.0

import { type ErrorKind, TikvError } from "../errors.ts";

interface KnownText {
  /** What the text has in it: as the error is shown, and as it is shown for debugging. */
  readonly texts: readonly string[];
  readonly kind: ErrorKind;
  /** What the caller can do about it. */
  readonly hint: string;
  /** The store's text has a key in it, which is the user's and not for logs. */
  readonly hasKey?: boolean | undefined;
}

/**
 * Raw answers carry their error as text only, without a code. These are the ones that a caller can
 * do something about (`src/storage/errors.rs` of TiKV); all others are of kind `server`. Scans and batch reads put
 * the debug form of the same errors into a pair.
 */
const KNOWN_TEXTS: readonly KnownText[] = [
  {
    texts: ["ttl is not enabled", "TtlNotEnabled"],
    kind: "unsupported",
    hint:
      'the stores keep no TTL: they need "storage.enable-ttl" and the client apiVersion "v1ttl", or API version 2',
  },
  {
    texts: ["Api version in request does not match", "ApiVersionNotMatched"],
    kind: "unsupported",
    hint: 'the stores use another API version: set "apiVersion" to what "storage.api-version" says',
  },
  {
    texts: ["Key mode mismatched with the request mode", "InvalidKeyMode"],
    kind: "unsupported",
    hint:
      'the key is not one of a keyspace for raw data: set "apiVersion" to what "storage.api-version" says',
    hasKey: true,
  },
  {
    texts: ["cf is deprecated in API V2", "CfDeprecated"],
    kind: "unsupported",
    hint: "API version 2 has no column families: use keyspaces or key prefixes",
  },
  {
    texts: ["invalid cf name", "InvalidCf"],
    kind: "unsupported",
    hint: 'the column families are "default", "write" and "lock"',
  },
  {
    texts: ["max key size exceeded", "KeyTooLarge"],
    kind: "too-large",
    hint: 'set "maxKeyBytes" to what "storage.max-key-size" says, to find out before sending',
  },
  {
    texts: ["Coprocessor plugin is disabled"],
    kind: "unsupported",
    hint: "the stores run no coprocessor plugins",
  },
];

/** The error of an answer that says that the store could not do it. */
export function serverError(method: string, text: string): TikvError {
  const known = KNOWN_TEXTS.find(({ texts }) => texts.some((part) => text.includes(part)));
  if (known === undefined) {
    return new TikvError("server", `Cannot do ${method}: the store answered "${text}"`, {
      context: { method },
    });
  }
  const shown = known.hasKey === true ? known.texts[0] : text;
  const message = `Cannot do ${method}: ${known.hint} (the store answered "${shown}")`;
  return new TikvError(known.kind, message, { context: { method } });
}

/** Throws when an answer has an error text. */
export function assertNoError(method: string, text: string): void {
  if (text !== "") throw serverError(method, text);
}

/** An error of a single pair of an answer, as far as raw answers use it. */
interface PairError {
  readonly retryable?: string | undefined;
  readonly abort?: string | undefined;
}

/**
 * Throws when a pair of an answer has an error. A store that could not read at all answers with
 * one pair that has nothing else, so it must not be taken for an entry.
 */
export function assertNoPairError(method: string, error: PairError | undefined): void {
  if (error === undefined) return;
  const text = [error.abort, error.retryable].find((part) => part !== undefined && part !== "");
  throw serverError(method, text ?? "an error without text");
}
