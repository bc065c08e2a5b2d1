// SPDX-License-Identifier: Apache-2.0
// How the command line shows bytes and tables.

import { escapeBytes, hex, parseEscaped, parseHex } from "../../src/bytes/hex.ts";
import { utf8Decode, utf8Encode } from "../../src/bytes/utf8.ts";

/** How keys or values are written and read on the command line. */
export type Encoding = "utf8" | "hex" | "escaped";

/** The accepted names of {@linkcode Encoding}. */
export const ENCODINGS: readonly Encoding[] = ["utf8", "hex", "escaped"];

/** Bytes of what was typed. */
export function parseBytes(text: string, encoding: Encoding): Uint8Array {
  switch (encoding) {
    case "hex":
      return parseHex(text);
    case "escaped":
      return parseEscaped(text);
    default:
      return utf8Encode(text);
  }
}

/** What to show of bytes. */
export function showBytes(bytes: Uint8Array, encoding: Encoding): string {
  switch (encoding) {
    case "hex":
      return hex(bytes);
    case "escaped":
      return escapeBytes(bytes);
    default:
      return utf8Decode(bytes);
  }
}

/** One cell of a table. */
export type Cell = string | number | bigint | undefined;

/** Lines of a table with aligned columns; numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (cell === undefined ? "-" : String(cell))));
  const widths = head.map((title, at) => Math.max(title.length, ...cells.map((row) => row[at]?.length ?? 0)));
  const isNumber = head.map((_, at) =>
    rows.some((row) => typeof row[at] === "number" || typeof row[at] === "bigint")
  );
  const line = (row: readonly string[]): string =>
    row.map((
      cell,
      at,
    ) => (isNumber[at] === true ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
      .join("  ").trimEnd();
  return [line(head), line(widths.map((width) => "─".repeat(width))), ...cells.map(line)].join("\n");
}

/** JSON in which 64-bit numbers are strings, so that no reader rounds them. */
export function json(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? inner.toString() : inner));
}
