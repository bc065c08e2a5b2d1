// SPDX-License-Identifier: Apache-2.0
// What gRPC puts into HTTP/2 headers: metadata, the time limit, the status and its message.

import type { Metadata } from "./transport.ts";
import { GRPC } from "./grpc_status.ts";

/** Header fields as an HTTP/2 implementation hands them out. */
export type HeaderFields = Readonly<Record<string, string | readonly string[] | number | undefined>>;

/** What a peer said about the end of a call. */
export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
}

/** The metadata in a block of header fields: everything but the pseudo fields, as sent. */
export function metadataOfHeaders(fields: HeaderFields): Metadata {
  const metadata: Record<string, string> = {};
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (value === undefined || name.charCodeAt(0) === COLON) continue;
    // RFC 9110 5.3: the values of a repeated field are one list, in their order.
    metadata[name] = typeof value === "object" ? value.join(", ") : String(value);
  }
  return metadata;
}

/**
 * Checks metadata before it is sent. Throws a `TypeError` for a name that is not lower-case, is
 * not allowed in a header or belongs to gRPC or HTTP/2 itself, and for a value that is not
 * printable ASCII.
 */
export function assertMetadata(metadata: Metadata): void {
  for (const name of Object.keys(metadata)) {
    if (!NAME.test(name)) {
      throw new TypeError(`Cannot send the metadata: "${name}" is not a lower-case header name`);
    }
    if (name.startsWith("grpc-") || RESERVED.has(name)) {
      throw new TypeError(`Cannot send the metadata: the name "${name}" is reserved`);
    }
    const value = metadata[name];
    if (typeof value !== "string" || !VALUE.test(value)) {
      throw new TypeError(`Cannot send the metadata: the value of "${name}" is not printable ASCII`);
    }
  }
}

/** The status in trailers or in the headers of a trailers-only answer; undefined when it has none. */
export function statusOfHeaders(fields: HeaderFields): GrpcStatus | undefined {
  const text = fields["grpc-status"];
  if (text === undefined) return undefined;
  const code = DIGITS.test(String(text)) ? Number(text) : GRPC.UNKNOWN;
  const message = fields["grpc-message"];
  return { code, message: message === undefined ? "" : decodeGrpcMessage(String(message)) };
}

/** Undoes the percent-encoding of `grpc-message`; what is not well-formed stays as it is. */
export function decodeGrpcMessage(text: string): string {
  if (!text.includes("%")) return text;
  const bytes: number[] = [];
  for (let index = 0; index < text.length; index++) {
    const hex = text.slice(index + 1, index + 3);
    if (text[index] === "%" && HEX_PAIR.test(hex)) {
      bytes.push(parseInt(hex, 16));
      index += 2;
    } else {
      // A header is ASCII; anything else is one unit that the replacement character stands for.
      const unit = text.charCodeAt(index);
      bytes.push(unit < 0x80 ? unit : 0x3f);
    }
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

/** Percent-encodes a message for `grpc-message`: everything but printable ASCII, and "%". */
export function encodeGrpcMessage(message: string): string {
  if (PLAIN.test(message)) return message;
  let text = "";
  for (const byte of new TextEncoder().encode(message)) {
    text += byte >= 0x20 && byte <= 0x7e && byte !== PERCENT
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

/** Formats a time limit for `grpc-timeout`: at most eight digits and a unit, rounded up. */
export function formatGrpcTimeout(ms: number): string {
  let value = Math.max(1, Math.ceil(ms));
  if (value <= MAX_TIMEOUT_VALUE) return `${value}m`;
  value = Math.ceil(value / 1000);
  if (value <= MAX_TIMEOUT_VALUE) return `${value}S`;
  return `${Math.min(Math.ceil(value / 3600), MAX_TIMEOUT_VALUE)}H`;
}

/** Parses `grpc-timeout` into milliseconds; undefined when the peer sent none, or nonsense. */
export function parseGrpcTimeout(text: string | undefined): number | undefined {
  if (text === undefined || !TIMEOUT.test(text)) return undefined;
  const unit = UNIT_MS[text.slice(-1)];
  return unit === undefined ? undefined : Number(text.slice(0, -1)) * unit;
}

const COLON = 0x3a;
const PERCENT = 0x25;
const NAME = /^[0-9a-z_.-]+$/;
const VALUE = /^[\x20-\x7e]*$/;
const PLAIN = /^[\x20-\x24\x26-\x7e]*$/;
const DIGITS = /^[0-9]{1,9}$/;
const HEX_PAIR = /^[0-9a-fA-F]{2}$/;
const TIMEOUT = /^[0-9]{1,8}[HMSmun]$/;
const MAX_TIMEOUT_VALUE = 99_999_999;
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** Set by the transport, or not allowed in HTTP/2 (RFC 9113 8.2.2). */
const RESERVED: ReadonlySet<string> = new Set([
  "te",
  "content-type",
  "user-agent",
  "host",
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "content-length",
]);
