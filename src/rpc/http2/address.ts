// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../../errors.ts";
import type { DialTarget } from "./dial.ts";

/** Splits `host:port`; an IPv6 address stands in brackets. */
export function parseAddress(address: string): DialTarget {
  const match = ADDRESS.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port > 0 && port <= 65_535)) {
    throw new TikvError("protocol", `Cannot dial "${address}": it is not of the form "host:port"`);
  }
  return { host, port };
}

const ADDRESS = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/@[\]]+)):([0-9]{1,5})$/;
