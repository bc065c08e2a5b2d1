// SPDX-License-Identifier: Apache-2.0

/**
 * Codecs: how keys and values of a program become the bytes that TiKV stores.
 *
 * A typed view takes one codec for its keys and one for its values; this entry point has them
 * without the client, for tools that read or write the same data. Key codecs say whether their
 * bytes keep the order of the values, which is what makes ranges over typed keys possible.
 *
 * @example Keys that sort like the values they were made of
 * ```ts
 * import assert from "node:assert/strict";
 * import { json, tuple } from "@tikv/client/codec";
 *
 * const eventKey = tuple<[day: string, seq: bigint]>();
 * const keys = [eventKey.encode(["2026-08-21", 10n]), eventKey.encode(["2026-08-21", 9n])];
 * const text = (key: Uint8Array) => String.fromCharCode(...key); // compares like the bytes
 * keys.sort((a, b) => text(a) < text(b) ? -1 : 1);
 * assert.deepEqual(keys.map((key) => eventKey.decode(key)[1]), [9n, 10n]);
 *
 * const user = json<{ name: string }>();
 * assert.deepEqual(user.decode(user.encode({ name: "Ada" })), { name: "Ada" });
 * ```
 *
 * @module
 */

export type { BoundOf, Codec, KeyCodec, PrefixKeyCodec, PrefixOf, RangeInputOf, ValueOf } from "./codec.ts";
export { toKeyRange } from "./codec.ts";
export { json } from "./json.ts";
export { boolean, bytes, float64, int64, uint64, utf8 } from "./scalars.ts";
export type { TupleItem, TuplePrefix } from "./tuple.ts";
export { tuple } from "./tuple.ts";
export type { BoundsInput, KeyRange, PrefixInput } from "../bytes/key_range.ts";
export type { KeyInput } from "../bytes/utf8.ts";
