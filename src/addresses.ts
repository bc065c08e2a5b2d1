// SPDX-License-Identifier: Apache-2.0

import { nameOf } from "./bytes/utf8.ts";
import { checkNames } from "./options.ts";

/** What the addresses that a caller wrote come down to. */
export interface ParsedAddresses {
  /** `host:port`, in the order given, each once. */
  readonly addresses: readonly string[];
  /** True for `https://`, false for `http://`; undefined when nothing was said. */
  readonly isSecure: boolean | undefined;
  /** From the query of a `tikv://` URL. */
  readonly keyspace: string | undefined;
}

/**
 * Reads the addresses of PD: `host:port`, `http://host:port`, `https://host:port`, several of them
 * separated by commas or in an array, or `tikv://host:port,host:port?keyspaceName=name`. The port
 * is 2379 unless given.
 */
export function parseAddresses(input: string | readonly string[]): ParsedAddresses {
  const texts = typeof input === "string" ? [input] : input;
  if (!Array.isArray(texts)) {
    throw new TypeError(
      `Cannot use ${nameOf(input)} as the address of PD: expected a string or an array of them`,
    );
  }
  const addresses = new Set<string>();
  let isSecure: boolean | undefined;
  let keyspace: string | undefined;
  for (const text of texts as readonly unknown[]) {
    if (typeof text !== "string") {
      throw new TypeError(`Cannot use ${nameOf(text)} as the address of PD: expected a string`);
    }
    const parsed = parseOne(text);
    for (const address of parsed.addresses) addresses.add(address);
    if (isSecure !== undefined && parsed.isSecure !== undefined && isSecure !== parsed.isSecure) {
      throw new RangeError('Cannot use the addresses of PD: some are "http://" and some "https://"');
    }
    isSecure ??= parsed.isSecure;
    keyspace ??= parsed.keyspace;
  }
  if (addresses.size === 0) {
    throw new RangeError(
      'Cannot connect: no address of PD was given, expected something like "127.0.0.1:2379"',
    );
  }
  return { addresses: [...addresses], isSecure, keyspace };
}

function parseOne(text: string): ParsedAddresses {
  // Comma-separated hosts are no URL in the sense of WHATWG, so `URL` cannot read them.
  const { scheme = "", rest = "" } = SCHEME.exec(text.trim())?.groups ?? {};
  const [authority = "", query] = splitOnce(rest, "?");
  if (authority.includes("@")) {
    // The text is not repeated: it has a password in it.
    throw new RangeError(
      "Cannot use the address of PD: it has a user or password in it, which TiKV does not know; use the tls option",
    );
  }
  const name = scheme.toLowerCase();
  const isSecure = SECURE_OF.get(name);
  if (!SECURE_OF.has(name)) {
    throw new RangeError(
      `Cannot use "${text}" as the address of PD: expected "http://", "https://", "tikv://" or no scheme`,
    );
  }
  const keyspace = query === undefined ? undefined : keyspaceOf(text, name, query);
  const addresses = authority.split(",").filter((part) => part.trim() !== "").map((part) => {
    // Each part of "http://a:1,http://b:2" may repeat the scheme.
    const host = part.trim().replace(SCHEME_PREFIX, "");
    return hostAndPort(host.endsWith("/") ? host.slice(0, -1) : host);
  });
  return { addresses, isSecure, keyspace };
}

function keyspaceOf(text: string, scheme: string, query: string): string | undefined {
  if (scheme !== "tikv") {
    throw new RangeError(
      `Cannot use "${text}" as the address of PD: only "tikv://" takes options in the address`,
    );
  }
  const options = Object.fromEntries(new URLSearchParams(query));
  checkNames("the options in the address of PD", options, QUERY_NAMES);
  const { disableGC } = options;
  // For the commit log of TiDB's storage paths: this client runs no garbage collection anyway.
  if (disableGC !== undefined && disableGC !== "true" && disableGC !== "false") {
    throw new RangeError(`Cannot use "${disableGC}" as "disableGC": expected "true" or "false"`);
  }
  return options["keyspaceName"] ?? options["keyspace"];
}

function hostAndPort(text: string): string {
  const { host, port = String(DEFAULT_PORT) } = HOST_AND_PORT.exec(text)?.groups ?? {};
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw new RangeError(`Cannot use "${text}" as the address of PD: expected "host:port"`);
  }
  return `${host}:${port}`;
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

const DEFAULT_PORT = 2379;
const SCHEME = /^(?:(?<scheme>[A-Za-z][A-Za-z0-9+.-]*):\/\/)?(?<rest>.*)$/s;
const SCHEME_PREFIX = /^(?:https?|tikv):\/\//i;
const HOST_AND_PORT = /^(?<host>\[[0-9a-fA-F:.]+\]|[^\s:/@[\]?#]+)(?::(?<port>\d{1,5}))?$/;
const SECURE_OF = new Map<string, boolean | undefined>([
  ["", undefined],
  ["tikv", undefined],
  ["http", false],
  ["https", true],
]);
const QUERY_NAMES: ReadonlySet<string> = new Set(["keyspace", "keyspaceName", "disableGC"]);
