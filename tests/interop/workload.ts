// SPDX-License-Identifier: Apache-2.0
// The history of a seed through this project's client. `go/workload.go` draws the same numbers in
// the same order and makes the same calls through client-go; the answers must be equal.

import { hex } from "../../src/bytes/hex.ts";
import { SeededRandom } from "../../src/testing/seeded_random.ts";
import { TikvError } from "../../mod.ts";
import type { Client } from "../../mod.ts";

/** One call and what came back. */
export interface Answered {
  readonly call: string;
  readonly answer: string;
}

/** What a history may do to the cluster beside its calls. */
export interface ClusterChanges {
  split(key: Uint8Array): Promise<void> | void;
  moveLeader(key: Uint8Array): Promise<void> | void;
}

/** Which history is run, on what. */
export interface WorkloadOptions {
  readonly seed: number;
  readonly calls: number;
  readonly changes: ClusterChanges;
}

const KEYS = 40;

/** Runs the history of a seed; the last line is the content that it left. */
export async function runWorkload(client: Client, options: WorkloadOptions): Promise<Answered[]> {
  const history = new History(client, options);
  for (let i = 0; i < options.calls; i++) await history.step();
  await history.tell("content", async () => {
    return pairs(await client.raw.scan({ start: "k", end: "l" }).toArray());
  });
  return history.answers;
}

class History {
  readonly answers: Answered[] = [];
  readonly #client: Client;
  readonly #random: SeededRandom;
  readonly #changes: ClusterChanges;

  constructor(client: Client, { seed, changes }: WorkloadOptions) {
    this.#client = client;
    this.#random = new SeededRandom(seed);
    this.#changes = changes;
  }

  /** Notes the answer of a call; an error of the cluster counts as "refused", whatever its words. */
  async tell(call: string, work: () => Promise<string>): Promise<void> {
    const answer = await work().catch((error: unknown) => {
      if (TikvError.is(error) && REFUSALS.has(error.kind)) return "refused";
      throw new Error(`Cannot do ${call}`, { cause: error });
    });
    this.answers.push({ call, answer });
  }

  async step(): Promise<void> {
    const { raw } = this.#client;
    const draw = this.#random.int(100);
    if (draw < 20) {
      const key = this.#key();
      await this.tell(`get ${text(key)}`, async () => text(await raw.get(key)));
    } else if (draw < 40) {
      const key = this.#key(), value = this.#value();
      await this.tell(`put ${text(key)} ${text(value)}`, () => done(raw.put(key, value)));
    } else if (draw < 45) {
      const key = this.#key(), value = this.#value(), ttlSeconds = 1000 + this.#random.int(1000);
      const call = `put ${text(key)} ${text(value)} ttl ${ttlSeconds}`;
      await this.tell(call, () => done(raw.put(key, value, { ttlSeconds })));
    } else if (draw < 55) {
      const keys = this.#keys();
      await this.tell(`batchGet ${texts(keys)}`, async () => {
        const found = await raw.batchGet(keys);
        return texts(keys.map((key) => found.get(key)));
      });
    } else if (draw < 65) {
      // All keys are drawn before the first value.
      const entries = this.#keys().map((key) => ({ key, value: this.#value() }));
      await this.tell(`batchPut ${pairs(entries)}`, () => done(raw.batchPut(entries)));
    } else if (draw < 71) {
      const key = this.#key();
      await this.tell(`delete ${text(key)}`, () => done(raw.delete(key)));
    } else if (draw < 75) {
      const keys = this.#keys();
      await this.tell(`batchDelete ${texts(keys)}`, () => done(raw.batchDelete(keys)));
    } else if (draw < 93) await this.#overRange(draw);
    else if (draw < 97) await this.#swap();
    else if (draw < 98) {
      const key = this.#key();
      await this.tell(`ttl ${text(key)}`, async () => {
        const left = await raw.ttl(key);
        return left === undefined ? "none" : left === Infinity ? "endless" : "limited";
      });
    } else if (draw < 99) await this.#changes.split(this.#key());
    else await this.#changes.moveLeader(this.#key());
  }

  async #overRange(draw: number): Promise<void> {
    const { raw } = this.#client;
    const range = this.#bounds();
    const bounds = `${text(range.start)} ${text(range.end)}`;
    if (draw < 77) await this.tell(`deleteRange ${bounds}`, () => done(raw.deleteRange(range)));
    else if (draw < 89) {
      const reverse = draw >= 84;
      const limit = 1 + this.#random.int(10);
      await this.tell(`scan ${reverse ? "down " : ""}${bounds} limit ${limit}`, async () => {
        return pairs(await raw.scan(range, { limit, reverse }).toArray());
      });
    } else if (draw < 91) {
      await this.tell(`scan keys ${bounds}`, async () => {
        return texts(await raw.scanKeys(range, { limit: KEYS }).toArray());
      });
    } else {
      await this.tell(`checksum ${bounds}`, async () => {
        const sum = await raw.checksum(range);
        return `${sum.checksum.toString(16).padStart(16, "0")} ${sum.totalKeys} ${sum.totalBytes}`;
      });
    }
  }

  /** Expects nothing, a guess, or what is there. */
  async #swap(): Promise<void> {
    const { raw } = this.#client;
    const key = this.#key(), guess = this.#value(), value = this.#value();
    const kind = this.#random.int(3);
    const expect = kind === 0 ? undefined : kind === 1 ? guess : await raw.get(key);
    await this.tell(`swap ${text(key)} ${text(expect)} ${text(value)}`, async () => {
      const result = await raw.atomic().compareAndSwap(key, { expect: expect ?? null, value });
      return `${result.swapped} ${text(result.previous)}`;
    });
  }

  #key(): Uint8Array {
    return encoder.encode(`k${String(this.#random.int(KEYS)).padStart(2, "0")}`);
  }

  #value(): Uint8Array {
    return this.#random.int(12) === 0 ? EMPTY : encoder.encode(`v${this.#random.int(1000)}`);
  }

  #keys(): Uint8Array[] {
    return Array.from({ length: 1 + this.#random.int(8) }, () => this.#key());
  }

  /** Two keys, the lower first. */
  #bounds(): { readonly start: Uint8Array; readonly end: Uint8Array } {
    const one = this.#key(), other = this.#key();
    return text(one) > text(other) ? { start: other, end: one } : { start: one, end: other };
  }
}

async function done(work: Promise<unknown>): Promise<string> {
  await work;
  return "done";
}

function text(bytes: Uint8Array | null | undefined): string {
  return bytes === null || bytes === undefined ? "none" : `0x${hex(bytes)}`;
}

function texts(list: readonly (Uint8Array | undefined)[]): string {
  return list.map(text).join(" ");
}

function pairs(entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]): string {
  return entries.map(({ key, value }) => `${text(key)}=${text(value)}`).join(" ");
}

const encoder = new TextEncoder();
const EMPTY = new Uint8Array(0);

/** What a store's refusal is; anything else is a failure of the run. */
const REFUSALS: ReadonlySet<string> = new Set(["unsupported", "server"]);
