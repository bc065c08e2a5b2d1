// SPDX-License-Identifier: Apache-2.0
// What the Go program may ask to be done to a playground.

import { parseHex } from "../../src/bytes/hex.ts";
import type { Playground } from "../../src/playground/mod.ts";
import type { Actions, Line } from "./go_session.ts";

/** The actions on a playground; keys are those of a user of the keyspace. */
export function clusterActions(cluster: Playground, keyspace?: string): Actions {
  const options = keyspace === undefined ? {} : { keyspace };
  return {
    async split(request): Promise<void> {
      for (const key of request["keys"] as string[]) await cluster.split(parseHex(key), options);
    },
    moveLeader: (request) => cluster.moveLeader(keyOf(request), undefined, options),
    merge: (request) => cluster.merge(cluster.regionOf(keyOf(request), options).start, { isEncoded: true }),
    readdress: (request) => cluster.readdressStore(storeOf(request)),
    stopStore: (request) => cluster.stopStore(storeOf(request)),
    startStore: (request) => cluster.startStore(storeOf(request)),
    movePdLeader: () => cluster.movePdLeader(),
  };
}

function keyOf(request: Line): Uint8Array {
  return parseHex(String(request["key"]));
}

function storeOf(request: Line): bigint {
  return BigInt(Number(request["store"]));
}
