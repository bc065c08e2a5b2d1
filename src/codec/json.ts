// SPDX-License-Identifier: Apache-2.0

import { nameOf, utf8Decode, utf8Encode } from "../bytes/utf8.ts";
import { TikvError } from "../errors.ts";
import type { Codec } from "./codec.ts";

/**
 * Values as JSON text in UTF-8.
 *
 * `T` is the caller's word: what was written by others is not checked against it. What JSON
 * cannot say is not kept (a `Date` comes back as a string), and a value without any JSON text
 * (`undefined`, a function, a symbol, a `bigint`) is a `TypeError`. Bytes that are no JSON are
 * a `codec` error with the parser's error as its `cause`; only that one may quote the stored text.
 */
export function json<T>(): Codec<T> {
  return {
    encode(value: T): Uint8Array {
      const text: string | undefined = JSON.stringify(value);
      if (text === undefined) {
        throw new TypeError(`Cannot encode ${nameOf(value)} as JSON: it has no JSON text`);
      }
      return utf8Encode(text);
    },
    decode(encoded: Uint8Array): T {
      const text = utf8Decode(encoded);
      try {
        return JSON.parse(text);
      } catch (cause) {
        throw new TikvError("codec", `Cannot decode ${encoded.length} bytes as JSON: they are malformed`, {
          cause,
        });
      }
    },
  };
}
