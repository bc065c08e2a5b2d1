// SPDX-License-Identifier: Apache-2.0
// Many writers, each with keys of its own and a model of what they may hold, on a cluster that is
// split, moved, stopped, re-addressed and cut under them. Ends with code 1 when an answer was wrong.
//
//   deno run -A bench/soak.ts --seconds 30 --seed 1     (also: bun run …, node …)

import process from "node:process";
import { parseArgs } from "node:util";
import { type Client, connect, type ErrorKind, TikvError } from "../mod.ts";
import { fault, Playground } from "../src/playground/mod.ts";
import { SeededRandom } from "../src/testing/mod.ts";

const WRITERS = 16;
const TIMEOUT_MS = 8_000;
/** The chaos ends this long before the end, so that the last operations have a quiet cluster. */
const QUIET_MS = 5_000;
const LONGEST_MS = 600_000;

/** What an operation may end with while the cluster is being broken. */
const EXPECTED: ReadonlySet<ErrorKind> = new Set<ErrorKind>([
  "undetermined",
  "timeout",
  "connection",
  "region-unavailable",
  "server-busy",
]);

interface Tally {
  operations: number;
  wrong: number;
  longestMs: number;
  readonly errors: Map<string, number>;
}

function count(tally: Tally, what: string): void {
  tally.errors.set(what, (tally.errors.get(what) ?? 0) + 1);
}

function wrong(tally: Tally, what: string): void {
  tally.wrong++;
  console.error(`WRONG ${what}`);
}

function textOf(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value);
}

/** A writer: what each of its keys may hold is known, because nobody else writes them. */
class Writer {
  readonly #client: Client;
  readonly #tally: Tally;
  readonly #random: SeededRandom;
  readonly #id: number;
  readonly #model = new Map<string, Set<string | undefined>>();
  #writes = 0;

  constructor(client: Client, tally: Tally, { id, seed }: { readonly id: number; readonly seed: number }) {
    this.#client = client;
    this.#tally = tally;
    this.#random = new SeededRandom(seed * 1_000 + id);
    this.#id = id;
  }

  async run(endsAt: number): Promise<void> {
    while (Date.now() < endsAt) {
      const started = Date.now();
      try {
        await this.#step();
        this.#tally.operations++;
      } catch (error) {
        count(this.#tally, TikvError.is(error) ? error.kind : String(error));
        if (!TikvError.is(error) || !EXPECTED.has(error.kind)) wrong(this.#tally, String(error));
      }
      this.#tally.longestMs = Math.max(this.#tally.longestMs, Date.now() - started);
    }
  }

  async #step(): Promise<void> {
    const key = `${this.#prefix()}${this.#random.int(50)}`;
    const choice = this.#random.int(10);
    if (choice < 4) await this.#get(key);
    else if (choice < 7) await this.#put(key);
    else if (choice < 8) await this.#delete(key);
    else if (choice < 9) await this.#swap(key);
    else await this.#scan(this.#prefix());
  }

  #prefix(): string {
    return `w${String.fromCharCode(97 + this.#random.int(26))}/${this.#id}/`;
  }

  #mayHold(key: string): Set<string | undefined> {
    const found = this.#model.get(key) ?? new Set([undefined]);
    this.#model.set(key, found);
    return found;
  }

  async #get(key: string): Promise<void> {
    const value = textOf(await this.#client.raw.get(key));
    if (!this.#mayHold(key).has(value)) wrong(this.#tally, `get("${key}") is ${value}`);
    this.#model.set(key, new Set([value]));
  }

  async #put(key: string): Promise<void> {
    const value = `${this.#id}-${this.#writes++}`;
    this.#mayHold(key).add(value);
    await this.#client.raw.put(key, value);
    this.#model.set(key, new Set([value]));
  }

  async #delete(key: string): Promise<void> {
    this.#mayHold(key).add(undefined);
    await this.#client.raw.delete(key);
    this.#model.set(key, new Set([undefined]));
  }

  async #swap(key: string): Promise<void> {
    const held = this.#mayHold(key);
    if (held.size !== 1) return; // what to expect is not known
    const [before] = held;
    const value = `${this.#id}-${this.#writes++}`;
    held.add(value);
    const { swapped } = await this.#client.raw.atomic().compareAndSwap(key, {
      expect: before ?? null,
      value,
    });
    if (!swapped) wrong(this.#tally, `compareAndSwap("${key}") did not find ${before}`);
    this.#model.set(key, new Set([value]));
  }

  async #scan(prefix: string): Promise<void> {
    const seen = new Map<string, string | undefined>();
    const options = { batchSize: 7, reverse: this.#random.int(2) === 0 };
    for await (const { key, value } of this.#client.raw.scan({ prefix }, options)) {
      seen.set(textOf(key) ?? "", textOf(value));
    }
    for (const [key, held] of this.#model) {
      if (key.startsWith(prefix) && !held.has(seen.get(key))) {
        wrong(this.#tally, `scan() has ${seen.get(key)} at "${key}"`);
      }
    }
  }
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Breaks the cluster in every way that it can be broken without losing data. */
async function chaos(cluster: Playground, random: SeededRandom, endsAt: number): Promise<number> {
  const anyKey = (): string => `w${String.fromCharCode(97 + random.int(26))}/${random.int(20)}`;
  const anyStore = (): bigint => random.pick(cluster.stores()).id;
  const acts: readonly (() => Promise<unknown> | unknown)[] = [
    () => cluster.split(anyKey()),
    () => cluster.moveLeader(anyKey()),
    () => cluster.moveLeader(anyKey()),
    () => cluster.merge(anyKey()),
    async () => {
      const id = anyStore();
      await cluster.stopStore(id);
      await pause(random.int(1_500));
      await cluster.startStore(id);
    },
    () => cluster.readdressStore(anyStore()),
    () => cluster.movePdLeader(),
    () => cluster.cutStore(anyStore()),
    () => cluster.faults.add({ times: 3 }, fault.dropReply()),
    () => cluster.faults.add({ times: 2 }, fault.cutStream({ isExecuted: random.int(2) === 0 })),
  ];
  let done = 0;
  while (Date.now() < endsAt) {
    await pause(50 + random.int(250));
    try {
      await random.pick(acts)();
      done++;
    } catch {
      // Some acts do not apply to every state: a key that already is a border, a single region.
    }
  }
  return done;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { seconds: { type: "string", default: "30" }, seed: { type: "string", default: "1" } },
  });
  const seed = Number(values.seed);
  const endsAt = Date.now() + Math.min(Number(values.seconds) * 1_000, LONGEST_MS);
  const tally: Tally = { operations: 0, wrong: 0, longestMs: 0, errors: new Map() };
  process.on("unhandledRejection", (error) => wrong(tally, `unhandled rejection: ${error}`));
  const cluster = await Playground.start({ stores: 3, apiVersion: "v2", pdMembers: 3, ports: {} });
  const client = await connect(cluster.pdAddresses, { apiVersion: 2, timeoutMs: TIMEOUT_MS });
  try {
    const writers = Array.from({ length: WRITERS }, (_, id) => new Writer(client, tally, { id, seed }));
    const [acts] = await Promise.all([
      chaos(cluster, new SeededRandom(seed), endsAt - QUIET_MS),
      ...writers.map((writer) => writer.run(endsAt)),
    ]);
    console.log(JSON.stringify({ seed, acts, ...tally, errors: Object.fromEntries(tally.errors) }));
  } finally {
    await client.close();
    await cluster.close();
  }
  return tally.wrong === 0 ? 0 : 1;
}

process.exitCode = await main();
