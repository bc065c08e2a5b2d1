// SPDX-License-Identifier: Apache-2.0
// The commands that look at the cluster itself. They talk to PD only, so they work while stores do not.

import { logicalOf, physicalMsOf } from "../../src/types.ts";
import type { Pd } from "../../src/pd/mod.ts";
import { type CommandLine, numberOf } from "./options.ts";
import { json, showBytes, table } from "./output.ts";
import { rangeOf } from "./range.ts";

const REGION_LIMIT = 100;

/** A command that needs only PD. */
export type PdCommand = (pd: Pd, line: CommandLine) => Promise<void>;

async function regions(pd: Pd, line: CommandLine): Promise<void> {
  const limit = numberOf(line, "limit") ?? REGION_LIMIT;
  const found = [];
  for await (const region of pd.regions(rangeOf(line) ?? {})) {
    found.push(region);
    if (found.length >= limit) break;
  }
  if (line.isJson) {
    for (const region of found) {
      console.log(
        json({ ...region, start: showBytes(region.start, line.keys), end: showBytes(region.end, line.keys) }),
      );
    }
    return;
  }
  const rows = found.map((region) => [
    region.id,
    showBytes(region.start, line.keys),
    region.end.length === 0 ? "(end)" : showBytes(region.end, line.keys),
    `${region.confVer}.${region.version}`,
    region.leader === undefined ? "none" : `store ${region.leader.storeId}`,
    region.peers.map((peer) => `${peer.storeId}${peer.role === "voter" ? "" : `(${peer.role})`}`).join(" "),
  ]);
  console.log(table(["region", "start", "end", "epoch", "leader", "stores"], rows));
  if (found.length >= limit) console.error(`(stopped at ${limit} regions: see --limit)`);
}

async function stores(pd: Pd, line: CommandLine): Promise<void> {
  const found = await pd.stores();
  if (line.isJson) {
    for (const store of found) console.log(json({ ...store, labels: Object.fromEntries(store.labels) }));
    return;
  }
  const rows = found.map((store) => [
    store.id,
    store.address,
    store.state,
    store.version,
    [...store.labels].map(([name, value]) => `${name}=${value}`).join(" "),
  ]);
  console.log(table(["store", "address", "state", "version", "labels"], rows));
}

async function tso(pd: Pd, line: CommandLine): Promise<void> {
  const started = performance.now();
  const timestamp = await pd.timestamp();
  const ms = performance.now() - started;
  const physicalMs = physicalMsOf(timestamp);
  const time = new Date(physicalMs).toISOString();
  const logical = logicalOf(timestamp);
  if (line.isJson) console.log(json({ timestamp, physicalMs, logical, time, roundTripMs: ms }));
  else console.log(`${timestamp}  (${time}, logical ${logical}, ${ms.toFixed(1)} ms)`);
}

/** Every command that needs only PD, by its name. */
export const PD_COMMANDS: Readonly<Record<string, PdCommand>> = { regions, stores, tso };
