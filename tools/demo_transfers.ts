// SPDX-License-Identifier: Apache-2.0
// The part of the demo that moves money: many clients at a time, on regions that split, with leaders
// that move and answers that get lost. Money must neither appear nor vanish, not for a moment.

import { codec, connect, UndeterminedError } from "../mod.ts";
import type { Client, CommitPath, Reader } from "../mod.ts";
import { fault, Playground } from "../src/playground/mod.ts";
import { SeededRandom } from "../src/testing/mod.ts";
import type { Report } from "./demo_report.ts";

const ACCOUNTS = 200;
const START = 100n;
const WORKERS = 16;
const TRANSFERS = 40;
const CODECS = { key: codec.utf8, value: codec.uint64 };

/** What is counted while money moves. */
interface Counts {
  readonly paths: Map<CommitPath, number>;
  again: number;
  undetermined: number;
}

/** Runs the transfers and tells the report; `check` fails the demo. */
export async function transfers(
  report: Report,
  check: (isSo: boolean, what: string) => void,
): Promise<void> {
  const cluster = await Playground.start({ stores: 3, mode: "txn", splitKeys: [nameOf(ACCOUNTS / 2)] });
  const counts: Counts = { paths: new Map(), again: 0, undetermined: 0 };
  const client = await connect(cluster, {
    observe: (event) => {
      if (event.type === "retry" && event.operation === "transaction") counts.again++;
    },
  });
  try {
    await client.transaction((txn) => {
      const accounts = txn.sub("account/", CODECS);
      for (let i = 0; i < ACCOUNTS; i++) accounts.put(nameOf(i), START);
    });
    const started = performance.now();
    let isDone = false;
    const auditing = audit(client, () => isDone, check);
    const working = Promise.all(
      Array.from({ length: WORKERS }, (_, seed) => work(client, cluster, { seed, counts })),
    ).finally(() => isDone = true);
    const [audits] = await Promise.all([auditing, working]);
    report.phase("transfers (transaction)", WORKERS * TRANSFERS, performance.now() - started);
    report.fact("audits while money moved", audits);
    report.fact("transfers run again after a conflict", counts.again);
    report.fact("commits whose answer was lost, and that were asked about", counts.undetermined);
    for (const [path, count] of [...counts.paths].sort()) report.fact(`commits by ${path}`, count);
  } finally {
    await client.close();
    await cluster.close();
  }
}

function nameOf(account: number): string {
  return String(account).padStart(3, "0");
}

/** Half of the workers lock what they read, the others are run again after a conflict. */
async function work(
  client: Client,
  cluster: Playground,
  { seed, counts }: { readonly seed: number; readonly counts: Counts },
): Promise<void> {
  const random = new SeededRandom(seed + 1);
  const isPessimistic = seed % 2 === 0;
  for (let done = 0; done < TRANSFERS;) {
    const from = nameOf(Math.floor(random.next() * ACCOUNTS));
    const to = nameOf(Math.floor(random.next() * ACCOUNTS));
    if (from === to) continue;
    const amount = BigInt(1 + Math.floor(random.next() * 30));
    if (done % 10 === seed % 10) await disturb(cluster, from, seed);
    try {
      await client.transaction(async (txn) => {
        const accounts = txn.sub("account/", CODECS);
        const both = isPessimistic
          ? await accounts.batchGetForUpdate([from, to])
          : await accounts.batchGet([from, to]);
        const [a = 0n, b = 0n] = [both.get(from), both.get(to)];
        if (a < amount) return;
        accounts.put(from, a - amount);
        accounts.put(to, b + amount);
      }, {
        mode: isPessimistic ? "pessimistic" : "optimistic",
        maxAttempts: 1_000,
        onCommit: ({ path, commitTs }) => {
          if (commitTs !== undefined && path !== undefined) {
            counts.paths.set(path, (counts.paths.get(path) ?? 0) + 1);
          }
        },
      });
    } catch (error) {
      if (!(error instanceof UndeterminedError)) throw error;
      // Not run again: it may have happened. The primary key knows.
      await error.resolve();
      counts.undetermined++;
    }
    done++;
  }
}

async function disturb(cluster: Playground, account: string, seed: number): Promise<void> {
  const key = `account/${account}`;
  if (seed % 3 === 0) await cluster.split(key);
  else if (seed % 3 === 1) await cluster.moveLeader(key);
  else cluster.faults.add({ method: "KvPrewrite", times: 1 }, fault.cutStream({ isExecuted: true }));
}

/** Adds everything up, at one moment after the other, until it is over. */
async function audit(
  client: Client,
  isOver: () => boolean,
  check: (isSo: boolean, what: string) => void,
): Promise<number> {
  let audits = 0;
  for (; audits === 0 || !isOver(); audits++) {
    const total = await sumOf(await client.snapshot());
    check(total === BigInt(ACCOUNTS) * START, `all accounts have ${total}, want ${BigInt(ACCOUNTS) * START}`);
  }
  return audits;
}

async function sumOf(reader: Reader): Promise<bigint> {
  let sum = 0n;
  for await (const { value } of reader.sub("account/", CODECS).scan({ prefix: "" })) sum += value;
  return sum;
}
