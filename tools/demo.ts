// SPDX-License-Identifier: Apache-2.0
// The demo: loads real files into an embedded cluster of three stores while its regions are split
// and moved, reads everything back and compares it byte for byte; then moves money in transactions.
// Runs in Deno, Bun and Node.

import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { codec, connect } from "../mod.ts";
import type { Client, ClientEvent, Raw } from "../mod.ts";
import { Playground } from "../src/playground/mod.ts";
import { SeededRandom } from "../src/testing/mod.ts";
import { LoadError, type Row, rowsOf } from "./demo_rows.ts";
import { Progress, Report } from "./demo_report.ts";
import { transfers } from "./demo_transfers.ts";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const CHUNK = 256;
const LOADERS = 8;
const WRITERS = 16;
const INCREMENTS = 25;
const TTL_SECONDS = 1;
const TTL_LIMIT_MS = 10_000;

const HELP = `Loads files into an embedded TiKV cluster and checks everything it reads back, then moves money
in transactions while regions split and answers get lost.

  deno task demo [--runtime deno|bun|node] [-- PATH]

PATH  a file or folder, or a .csv or .jsonl file (default: the sources of this project)`;

/** Thrown when what was read differs from what was written. */
class Difference extends Error {}

function check(isSame: boolean, what: string): void {
  if (!isSame) throw new Difference(what);
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && a.length === b.length && a.every((byte, index) => byte === b[index]);
}

function chunksOf<T>(list: readonly T[], size: number): T[][] {
  const chunks: T[][] = [];
  for (let at = 0; at < list.length; at += size) chunks.push(list.slice(at, at + size));
  return chunks;
}

/** Runs `work` over the items with a few workers, so that requests of several regions overlap. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const iterator = items.values();
  await Promise.all(Array.from({ length: LOADERS }, async () => {
    for (const item of iterator) await work(item);
  }));
}

/** Splits regions and moves leaders while the load runs. */
async function disturb(cluster: Playground, rows: readonly Row[], random: SeededRandom): Promise<void> {
  await cluster.split(`demo/${random.pick(rows).key}`);
  await cluster.moveLeader(`demo/${random.pick(rows).key}`);
}

function tableOf(client: Client): Raw<typeof codec.utf8, typeof codec.bytes> {
  return client.raw.sub("demo/", { key: codec.utf8, value: codec.bytes });
}

async function load(
  client: Client,
  cluster: Playground,
  report: Report,
  rows: readonly Row[],
): Promise<void> {
  const table = tableOf(client);
  const random = new SeededRandom(7);
  const progress = new Progress("load", rows.length);
  const started = performance.now();
  let chunk = 0;
  await inParallel(chunksOf(rows, CHUNK), async (part) => {
    if (chunk++ % 4 === 0) await disturb(cluster, rows, random);
    await table.batchPut(part.map(({ key, value }) => [key, value] as const));
    progress.add(part.length);
  });
  progress.end();
  report.phase("load (batchPut, regions split and moved)", rows.length, performance.now() - started);
}

async function readBack(
  client: Client,
  cluster: Playground,
  report: Report,
  rows: readonly Row[],
): Promise<void> {
  const table = tableOf(client);
  const random = new SeededRandom(11);
  const progress = new Progress("read", rows.length);
  const started = performance.now();
  let chunk = 0;
  await inParallel(chunksOf(rows, CHUNK), async (part) => {
    if (chunk++ % 8 === 0) await disturb(cluster, rows, random);
    const found = await table.batchGet(part.map(({ key }) => key));
    for (const { key, value } of part) {
      check(sameBytes(found.get(key), value), `the value of "${key}" differs`);
    }
    progress.add(part.length);
  });
  progress.end();
  report.phase("read back, byte for byte (batchGet)", rows.length, performance.now() - started);
}

async function readOneByOne(client: Client, report: Report, rows: readonly Row[]): Promise<void> {
  const some = rows.slice(0, 4_096);
  const started = performance.now();
  await Promise.all(some.map(async ({ key, value }) => {
    check(sameBytes(await client.raw.get(`demo/${key}`), value), `the value of "${key}" differs`);
  }));
  report.phase("single gets, all at once (get)", some.length, performance.now() - started);
}

async function scan(
  client: Client,
  cluster: Playground,
  report: Report,
  rows: readonly Row[],
): Promise<void> {
  const table = tableOf(client);
  for (const reverse of [false, true]) {
    const started = performance.now();
    let at = reverse ? rows.length - 1 : 0;
    for await (const { key, value } of table.scan({ prefix: "" }, { reverse })) {
      const row = rows[at];
      check(row !== undefined && row.key === key, `the scan gave "${key}" in place of "${row?.key}"`);
      check(row !== undefined && sameBytes(value, row.value), `the scan gave another value for "${key}"`);
      if (at % 20_000 === 0) await cluster.moveLeader(`demo/${key}`);
      at += reverse ? -1 : 1;
    }
    check(
      at === (reverse ? -1 : rows.length),
      `the scan ended ${reverse ? at + 1 : rows.length - at} rows early`,
    );
    report.phase(reverse ? "scan backwards" : "scan forwards", rows.length, performance.now() - started);
  }
}

async function count(client: Client, report: Report): Promise<void> {
  const counters = client.raw.sub("n/", { key: codec.utf8, value: codec.uint64 }).atomic();
  const started = performance.now();
  let lost = 0;
  await Promise.all(Array.from({ length: WRITERS }, async () => {
    let expect: bigint | null = null;
    for (let done = 0; done < INCREMENTS;) {
      const value: bigint = (expect ?? 0n) + 1n;
      const { swapped, previous } = await counters.compareAndSwap("visits", { expect, value });
      expect = swapped ? value : previous ?? null;
      if (swapped) done++;
      else lost++;
    }
  }));
  const total = await counters.get("visits");
  check(total === BigInt(WRITERS * INCREMENTS), `the counter is ${total}, want ${WRITERS * INCREMENTS}`);
  report.phase(
    `count with ${WRITERS} writers (compareAndSwap)`,
    WRITERS * INCREMENTS,
    performance.now() - started,
  );
  report.fact("lost races, tried again", lost);
}

async function expire(client: Client, report: Report): Promise<void> {
  const started = performance.now();
  await client.raw.put("session/1", "here", { ttlSeconds: TTL_SECONDS });
  const left = await client.raw.ttl("session/1");
  check(
    left !== undefined && left <= TTL_SECONDS,
    `the time to live is ${left}, want at most ${TTL_SECONDS}`,
  );
  while (await client.raw.has("session/1")) {
    check(performance.now() - started < TTL_LIMIT_MS, `the key is there after ${TTL_LIMIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  report.phase(`a key that lives ${TTL_SECONDS} s`, 1, performance.now() - started);
}

async function demo(path: string): Promise<void> {
  const rows = await rowsOf(path);
  const cluster = await Playground.start({ stores: 3, apiVersion: "v2", mode: "raw" });
  const retries = new Map<string, number>();
  const observe = (event: ClientEvent): void => {
    if (event.type === "retry") retries.set(event.reason, (retries.get(event.reason) ?? 0) + 1);
  };
  try {
    const client = await connect(cluster, { apiVersion: 2, observe });
    try {
      const report = new Report();
      report.fact("rows", rows.length);
      report.fact("bytes", rows.reduce((sum, { value }) => sum + value.length, 0));
      await load(client, cluster, report, rows);
      await readBack(client, cluster, report, rows);
      await readOneByOne(client, report, rows);
      await scan(client, cluster, report, rows);
      await count(client, report);
      await expire(client, report);
      await transfers(report, check);
      report.fact("regions", cluster.regions().length);
      report.print(path, retries);
    } finally {
      await client.close();
    }
  } finally {
    await cluster.close();
  }
}

async function main(): Promise<number> {
  const args = process.argv.slice(2).filter((argument) => argument !== "--");
  if (args.includes("--help") || args.includes("-h")) {
    console.log(HELP);
    return 0;
  }
  const unknown = args.find((argument) => argument.startsWith("-"));
  if (unknown !== undefined || args.length > 1) {
    console.error(`Cannot run the demo: "${unknown ?? args[1]}" is not understood\n\n${HELP}`);
    return 2;
  }
  try {
    await demo(args[0] ?? join(ROOT, "src"));
    return 0;
  } catch (error) {
    if (error instanceof Difference) console.error(`FAILED: ${error.message}`);
    else console.error(error instanceof LoadError ? error.message : error);
    return 1;
  }
}

process.exitCode = await main();
