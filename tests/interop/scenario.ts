// SPDX-License-Identifier: Apache-2.0
// What two clients do on one cluster. Each scenario is played twice, so that each client is either.

import assert from "node:assert/strict";
import { until } from "../helpers/until.ts";
import type { Pair } from "./pair.ts";
import { contentOf, type Entries, type ScanWith, type TxnClientDriver } from "./txn_client.ts";

/** The first bytes of keys of three regions, in their order, behind the prefix of a scenario. */
export const REGION_STARTS = ["m", "t"];

/** Who plays, and where. */
export interface Stage {
  readonly one: TxnClientDriver;
  readonly other: TxnClientDriver;
  readonly pair: Pair;
  /** A key of this scenario alone. */
  key(name: string): string;
  /** The range of all its keys. */
  readonly range: Required<Pick<ScanWith, "start" | "end">>;
}

/** Something that two clients do, and what must come of it. */
export interface Scenario {
  readonly name: string;
  play(stage: Stage): Promise<void>;
}

/** Puts values and commits. */
export async function write(
  client: TxnClientDriver,
  values: Readonly<Record<string, string>>,
): Promise<bigint> {
  const txn = await client.begin();
  for (const [key, value] of Object.entries(values)) await txn.put(key, value);
  return (await txn.commit()).commitTs;
}

/** Both clients see just these values, in names without the prefix. */
export async function assertContent(
  { one, other, range, key }: Stage,
  values: Readonly<Record<string, string>>,
): Promise<void> {
  const expected: Entries = Object.entries(values).map(([name, value]) => [key(name), value] as const)
    .sort(([a], [b]) => a < b ? -1 : 1);
  for (const client of [one, other]) {
    assert.deepEqual(await contentOf(client, range), expected, `what ${client.name} reads`);
  }
}

/** Resolves when the stores have been asked for a method once more than before `start`. */
export async function whenCalled({ pair }: Stage, method: string, start: () => unknown): Promise<void> {
  const before = pair.cluster.calls.get(method);
  start();
  await until(() => pair.cluster.calls.get(method) > before, `a call of ${method}`);
}
