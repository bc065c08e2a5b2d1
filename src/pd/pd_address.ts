// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";

/** Addresses of PD as a caller wrote them, in the form in which they are dialled. */
export interface PdAddresses {
  /** `host:port`, without duplicates, in the given order. */
  readonly addresses: readonly string[];
  /** What the scheme says about TLS; undefined when no address has one that does. */
  readonly isTls: boolean | undefined;
}

/**
 * Reads the addresses of PD: one or more of `http://host:port`, `https://host:port`, `host:port`
 * or `tikv://host:port,host:port`. Without a port it is 2379.
 *
 * A mistake is a `TypeError`. Credentials are one: TiKV and PD have no users.
 */
export function parsePdAddresses(endpoints: string | readonly string[]): PdAddresses {
  const list: readonly unknown[] = typeof endpoints === "string" ? [endpoints] : endpoints;
  if (!Array.isArray(list)) {
    throw new TypeError("Cannot use the PD addresses: expected a string or an array of strings");
  }
  const addresses = new Set<string>();
  let isTls: boolean | undefined;
  for (const endpoint of list) {
    if (typeof endpoint !== "string") throw refuse(String(endpoint), "it is not a string");
    const { scheme, hosts } = splitScheme(endpoint.trim());
    const says = TLS_OF_SCHEME[scheme];
    if (says !== undefined && isTls !== undefined && says !== isTls) {
      throw refuse(
        endpoint,
        "its scheme differs from that of another address, expected all http or all https",
      );
    }
    isTls = says ?? isTls;
    for (const host of hosts.split(",")) addresses.add(parseHost(host.trim(), endpoint));
  }
  if (addresses.size === 0) throw new TypeError("Cannot use the PD addresses: the list is empty");
  return { addresses: [...addresses], isTls };
}

/** One URL under which a member can be called. */
export interface MemberUrl {
  readonly url: string;
  readonly address: string;
}

/** The URL of a member whose scheme fits the connections of this client, if it has one. */
export function memberUrl(
  member: { readonly clientUrls: readonly string[] },
  isTls: boolean,
): MemberUrl | undefined {
  const wanted = isTls ? "https://" : "http://";
  const url = member.clientUrls.find((url) => url.startsWith(wanted));
  if (url === undefined) return undefined;
  return { url, address: parseHost(url.slice(wanted.length).replace(/\/$/, ""), url) };
}

/** The error for a member that serves, but not under the scheme of this client. */
export function schemeError(
  member: { readonly name: string; readonly clientUrls: readonly string[] },
  isTls: boolean,
): TikvError {
  const advice = isTls
    ? "it serves without TLS: use http:// addresses and no TLS options"
    : 'it serves with TLS: use https:// addresses, and "tls" for its certificates';
  return new TikvError(
    "tls",
    `Cannot use PD member "${member.name}" at ${member.clientUrls.join(", ")}: ${advice}`,
  );
}

function splitScheme(endpoint: string): { scheme: string; hosts: string } {
  const at = endpoint.indexOf("://");
  if (at < 0) return { scheme: "", hosts: endpoint };
  const scheme = endpoint.slice(0, at).toLowerCase();
  if (!(scheme in TLS_OF_SCHEME)) {
    throw refuse(endpoint, `its scheme is "${scheme}", expected http, https or tikv`);
  }
  return { scheme, hosts: endpoint.slice(at + 3).replace(/\/$/, "") };
}

function parseHost(host: string, endpoint: string): string {
  if (host.includes("@")) {
    // The text is not repeated: it holds a secret.
    throw new TypeError(
      "Cannot use the PD address: it has a user name or password, but TiKV has no authentication; " +
        'give client certificates with "tls" instead',
    );
  }
  const match = HOST.exec(host);
  if (match === null) {
    const isPath = /[/?#]/.test(host);
    throw refuse(endpoint, isPath ? "it has a path or a query, expected host:port" : "expected host:port");
  }
  const port = match[2] ?? DEFAULT_PORT;
  if (Number(port) < 1 || Number(port) > 65_535) {
    throw refuse(endpoint, "its port is not between 1 and 65535");
  }
  return `${match[1]}:${Number(port)}`;
}

function refuse(endpoint: string, why: string): TypeError {
  const shown = endpoint.replace(/\/\/[^/]*@/, "//…@");
  return new TypeError(`Cannot use the PD address "${shown}": ${why}`);
}

const TLS_OF_SCHEME: Readonly<Record<string, boolean | undefined>> = {
  "": undefined,
  "http": false,
  "https": true,
  // The scheme of TiDB's own configuration; it says nothing about TLS.
  "tikv": undefined,
};
const HOST = /^(\[[0-9a-fA-F:.]+\]|[^\s:/?#@[\]]+)(?::(\d{1,5}))?$/;
const DEFAULT_PORT = "2379";
