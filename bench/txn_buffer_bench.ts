// SPDX-License-Identifier: Apache-2.0
// Inserts, reads and walks of a transaction's buffer, and its bytes per small entry. Runs in every runtime:
//
//   deno run -A --v8-flags=--expose-gc bench/txn_buffer_bench.ts
//   bun bench/txn_buffer_bench.ts
//   node --expose-gc bench/txn_buffer_bench.ts
//
// `--keys N` (1 000 000), `--order random|ascending|descending` (all in turn), `--rounds N` (3).

import process from "node:process";
import { parseArgs } from "node:util";
import { SeededRandom } from "../src/testing/seeded_random.ts";
import { WriteBuffer } from "../src/txn/buffer/buffer.ts";
import { runtimeName } from "./load.ts";

/** Keys like those of a table: a shared prefix, then a number. */
const PREFIX = new TextEncoder().encode("t00000042_r");
const KEY_BYTES = PREFIX.length + 8;
const VALUE_BYTES = 8;

const { values: options } = parseArgs({
  args: process.argv.slice(2),
  options: {
    keys: { type: "string", default: "1000000" },
    order: { type: "string", default: "all" },
    rounds: { type: "string", default: "3" },
  },
});
const count = Number(options.keys);
const rounds = Number(options.rounds);
const orders = options.order === "all" ? ["random", "ascending", "descending"] as const : [options.order];
// The keys are made before anything is measured, in one block: what is measured is the buffer alone.
const block = new Uint8Array(count * KEY_BYTES);
const value = new Uint8Array(VALUE_BYTES).fill(7);

for (const order of orders) {
  fill(order);
  const results = Array.from({ length: rounds }, measure);
  const best = results.reduce((a, b) => a.insertsPerSecond > b.insertsPerSecond ? a : b);
  console.log(JSON.stringify({ runtime: runtimeName(), order, keys: count, ...best }));
}

function fill(order: string): void {
  const numbers = Float64Array.from({ length: count }, (_, i) => order === "descending" ? count - i : i);
  if (order === "random") {
    const random = new SeededRandom(1);
    for (let i = count - 1; i > 0; i--) {
      const j = random.int(i + 1);
      const swapped = numbers[i] ?? 0;
      numbers[i] = numbers[j] ?? 0;
      numbers[j] = swapped;
    }
  }
  const view = new DataView(block.buffer);
  for (let i = 0; i < count; i++) {
    block.set(PREFIX, i * KEY_BYTES);
    // Spread over all numbers, as hashed or far apart identifiers are.
    view.setBigUint64(i * KEY_BYTES + PREFIX.length, BigInt(numbers[i] ?? 0) * 1_000_003n);
  }
}

function keyAt(index: number): Uint8Array {
  return block.subarray(index * KEY_BYTES, (index + 1) * KEY_BYTES);
}

interface Measured {
  readonly insertsPerSecond: number;
  readonly getsPerSecond: number;
  readonly walkedPerSecond: number;
  readonly overheadBytesPerKey: number;
  readonly estimatedBytesPerKey: number;
}

function measure(): Measured {
  const before = usedBytes();
  const buffer = new WriteBuffer();
  const insertsPerSecond = rate(() => {
    for (let i = 0; i < count; i++) buffer.put(keyAt(i), value);
  });
  const bytes = usedBytes() - before;
  let found = 0;
  const getsPerSecond = rate(() => {
    for (let i = 0; i < count; i++) if (buffer.get(keyAt(i)) !== undefined) found++;
  });
  const walkedPerSecond = rate(() => {
    for (const entry of buffer.entries()) found += entry.key.length > 0 ? 1 : 0;
  });
  if (found !== 2 * count) throw new Error(`found ${found} of ${2 * count}`);
  return {
    insertsPerSecond,
    getsPerSecond,
    walkedPerSecond,
    overheadBytesPerKey: Math.round(bytes / count - KEY_BYTES - VALUE_BYTES),
    estimatedBytesPerKey: Math.round(buffer.memoryBytes / count - KEY_BYTES - VALUE_BYTES),
  };
}

/** By the CPU time of the process, which other work on the machine disturbs least. */
function rate(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return Math.round(count / (user + system) * 1_000_000);
}

function usedBytes(): number {
  const scope = globalThis as { gc?: () => void; Bun?: { gc(isSync: boolean): void } };
  for (let i = 0; i < 3; i++) scope.Bun === undefined ? scope.gc?.() : scope.Bun.gc(true);
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
