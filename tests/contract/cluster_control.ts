// SPDX-License-Identifier: Apache-2.0
// What can be done to a cluster that somebody else started: through the client, and as an
// administrator does it, over PD's HTTP interface.

import { type Client, connect, type ConnectOptions, type KeyInput, TikvError } from "../../mod.ts";
import { equalBytes } from "../../src/bytes/compare.ts";
import { keyAfter } from "../../src/bytes/key_range.ts";
import { toBytes } from "../../src/bytes/utf8.ts";
import type { PdRegion } from "../../src/pd/mod.ts";
import { until } from "../helpers/until.ts";
import type { ClusterControl } from "./backend.ts";

/** The changes that a running cluster allows. */
export function clusterControl(target: readonly string[], options: ConnectOptions): ClusterControl {
  const http = `http://${target[0]}/pd/api`;
  return {
    async split(key): Promise<void> {
      await using client = await connect([...target], options);
      const start = toBytes(key);
      // PD waits for a split that will not come when it was doing something else with the region.
      await until(
        async () => {
          await client.pd.split([start], { timeoutMs: SPLIT_LIMIT_MS }).catch(ignoreTimeouts);
          return equalBytes((await regionOf(client, start)).start, start);
        },
        "a region begins at the key",
        MOVE_LIMIT_MS,
      );
    },
    async moveLeader(key): Promise<void> {
      await using client = await connect([...target], options);
      const first = (await regionOf(client, key)).leader?.storeId;
      let orderedAt = -Infinity;
      await until(
        async () => {
          const { id, leader, peers } = await regionOf(client, key);
          if (leader?.storeId !== first) return true;
          // PD refuses while it does something else with the region, and gives up what it was told when the
          // region is split meanwhile: so it is told again.
          if (performance.now() < orderedAt + ORDER_INTERVAL_MS) return false;
          orderedAt = performance.now();
          const next = peers.find(({ storeId }) => storeId !== leader?.storeId);
          if (next === undefined) throw new Error(`Region ${id} has no other peer that could lead`);
          const order = { name: "transfer-leader", region_id: Number(id), to_store_id: Number(next.storeId) };
          await post(`${http}/v1/operators`, order).catch(() => {});
          return false;
        },
        "the region is led elsewhere",
        MOVE_LIMIT_MS,
      );
    },
    async createKeyspace(name): Promise<void> {
      try {
        await post(`${http}/v2/keyspaces`, { name });
      } catch (cause) {
        // One that is there already will do.
        const found = await fetch(`${http}/v2/keyspaces/${name}`);
        await found.body?.cancel();
        if (!found.ok) throw cause;
      }
    },
  };
}

async function regionOf(client: Client, key: KeyInput): Promise<PdRegion> {
  const start = toBytes(key);
  for await (const region of client.pd.regions({ start, end: keyAfter(start) })) return region;
  throw new Error("PD knows no region of the key");
}

async function post(url: string, body: object): Promise<void> {
  const reply = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  const told = await reply.text();
  if (!reply.ok) throw new Error(`Cannot post to ${url}: ${reply.status} ${told}`);
}

function ignoreTimeouts(error: unknown): void {
  if (!TikvError.is(error) || (error.kind !== "undetermined" && error.kind !== "timeout")) throw error;
}

const SPLIT_LIMIT_MS = 2_000;
const ORDER_INTERVAL_MS = 200;
const MOVE_LIMIT_MS = 15_000;
