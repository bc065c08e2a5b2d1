// SPDX-License-Identifier: Apache-2.0

import { checkNames } from "./options.ts";

/** A `tikv://` URL in its two parts. */
export interface TikvUrl {
  /** The addresses of PD, without the options. */
  readonly endpoints: string;
  readonly keyspace: string | undefined;
}

/**
 * Takes the options off an address of PD: `tikv://pd1:2379,pd2:2379?keyspaceName=orders`, the form
 * that programs on TiKV keep in their configuration. Other addresses take no options.
 */
export function splitTikvUrl(text: string): TikvUrl {
  const at = text.indexOf("?");
  if (at < 0) return { endpoints: text, keyspace: undefined };
  if (!/^\s*tikv:\/\//i.test(text)) {
    throw new RangeError('Cannot use the address of PD: only a "tikv://" address takes options after "?"');
  }
  const options = Object.fromEntries(new URLSearchParams(text.slice(at + 1).trim()));
  checkNames("the options in the address of PD", options, NAMES);
  const { disableGC } = options;
  // Other clients' storage paths have it. This client never runs garbage collection by itself.
  if (disableGC !== undefined && disableGC !== "true" && disableGC !== "false") {
    throw new RangeError(`Cannot use "${disableGC}" as "disableGC": expected "true" or "false"`);
  }
  const keyspace = options["keyspaceName"] ?? options["keyspace"];
  if (keyspace === "") {
    throw new RangeError('Cannot use an empty "keyspace" in the address of PD: expected a name');
  }
  return { endpoints: text.slice(0, at), keyspace };
}

const NAMES: ReadonlySet<string> = new Set(["keyspace", "keyspaceName", "disableGC"]);
