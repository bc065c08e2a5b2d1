// SPDX-License-Identifier: Apache-2.0
// A playground on ports, filled with the keys of the benchmark, for `run.ts --playground`.

import process from "node:process";
import { connect } from "../mod.ts";
import { Playground } from "../src/playground/mod.ts";
import { benchKeys, VALUE } from "./load.ts";

const cluster = await Playground.start({ stores: 3, ports: {} });
const client = await connect(cluster);
await client.raw.batchPut(benchKeys().map((key) => [key, VALUE] as const));
await client.close();
console.log(`serving ${cluster.pdAddresses.join(",")}`);
process.once("SIGTERM", () => void cluster.close());
