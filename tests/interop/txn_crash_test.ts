// SPDX-License-Identifier: Apache-2.0
// A client dies at a step of a transaction, and the other one meets what it left: it finds all of
// the transaction or nothing, soon, and can write the keys. Each client in either place.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Interceptor } from "../../mod.ts";
import { goProgram } from "../../tools/go_program.ts";
import { until } from "../helpers/until.ts";
import { abandon, ABANDONED, type Abandoned } from "./abandoned.ts";
import { locksOf } from "./locks.ts";
import { type Pair, startPair } from "./pair.ts";
import { write } from "./scenario.ts";
import { contentOf, type Found, refusalOf, type TxnClientDriver } from "./txn_client.ts";

/** Far below what a lock of a transaction that is alive is waited for. */
const ACTION_LIMIT_MS = 10_000;
const LIMIT_MS = 120_000;
/** Above the time that any lock lives when nobody keeps it alive. */
const EXPIRY_MS = 30_000;

/** One transaction that is left, and its keys. */
interface Left {
  readonly step: Abandoned;
  readonly action: ActionName;
  /** Its keys have this behind them. */
  readonly suffix: string;
}

interface Met extends Left {
  readonly survivor: TxnClientDriver;
}

/** How the other client meets it. Each returns what it saw, if that shows the outcome. */
const ACTIONS = {
  "get": async ({ survivor, step, suffix }) => {
    const snapshot = survivor.snapshot(await survivor.timestamp());
    const found: Record<string, string> = {};
    for (const name of step.names) found[name] = await snapshot.get(name + suffix) ?? "";
    return found;
  },
  "get, the last key first": async ({ survivor, step, suffix }) => {
    const snapshot = survivor.snapshot(await survivor.timestamp());
    const found: Record<string, string> = {};
    for (const name of step.names.toReversed()) found[name] = await snapshot.get(name + suffix) ?? "";
    return Object.fromEntries(Object.entries(found).sort());
  },
  "batchGet": async ({ survivor, step, suffix }) => {
    const snapshot = survivor.snapshot(await survivor.timestamp());
    return named(await snapshot.batchGet(step.names.map((name) => name + suffix)), suffix);
  },
  "scan": async (met) => await scanEach(met, false),
  "scan down": async (met) => await scanEach(met, true),
  "lock": async ({ survivor, step, suffix }) => {
    const txn = await survivor.begin({ mode: "pessimistic" });
    const found = await txn.lock(step.names.map((name) => name + suffix));
    await txn.rollback();
    return named(found, suffix);
  },
  "insert": async ({ survivor, step, suffix }) => {
    // All of the keys exist, whatever became of the transaction.
    const txn = await survivor.begin();
    for (const name of step.names) await txn.insert(name + suffix, "third");
    assert.equal(await refusalOf(txn.commit()), "key-exists");
    return undefined;
  },
  "write": async ({ survivor, step, suffix }) => {
    const values = Object.fromEntries(step.names.map((name) => [name + suffix, "third"]));
    await write(survivor, values);
    const now = survivor.snapshot(await survivor.timestamp());
    assert.deepEqual(await now.batchGet(Object.keys(values)), values);
    return undefined;
  },
} as const satisfies Record<string, (met: Met) => Promise<Found | undefined>>;

type ActionName = keyof typeof ACTIONS | "wait";

const KINDS = {
  "this client dies (v1)": { api: "v1", isOurs: true },
  "this client dies (v2)": { api: "v2", isOurs: true },
  "client-go is killed (v1)": { api: "v1", isOurs: false },
  "client-go is killed (v2)": { api: "v2", isOurs: false },
} as const;

/** The name under which it is told how the clean-up of everything went. */
const LAST = "garbage collection resolves whatever is left";

const program = await goProgram("tests/interop/go");
if (program.state === "absent") {
  console.error(`SKIPPED, NOT PASSED: transactions that client-go leaves: ${program.reason}`);
  test("transactions that a client leaves", { skip: program.reason }, () => {});
} else {
  const { path } = program;
  let playing: Map<string, Promise<ReadonlyMap<string, unknown>>> | undefined;
  for (const kind of Object.keys(KINDS)) {
    for (const name of [...ABANDONED.map((step) => step.name), LAST]) {
      test(`${kind}: ${name}`, { timeout: LIMIT_MS }, async () => {
        playing ??= new Map(Object.entries(KINDS).map(([each, how]) => [each, playAll(path, how)]));
        const failures = await playing.get(kind);
        assert.equal(failures?.has(name), true, "the step was not played");
        const failure = failures?.get(name);
        if (failure !== undefined) throw failure;
      });
    }
  }
}

/** Leaves every step once for each action at a time, and plays the actions. Tells what failed, by step. */
async function playAll(
  path: string,
  { api, isOurs }: { readonly api: "v1" | "v2"; readonly isOurs: boolean },
): Promise<ReadonlyMap<string, unknown>> {
  await using pair = await startPair(path, { api, splitKeys: ["m", "t"] });
  const actions = [...Object.keys(ACTIONS), "wait"] as ActionName[];
  const left = ABANDONED.flatMap((step) => actions.map((action) => ({ step, action }))).map((one, i) => ({
    ...one,
    suffix: `/${String(i).padStart(4, "0")}`,
  }));
  const keys = left.flatMap(({ step, suffix }) => step.names.map((name) => name + suffix));
  await write(pair.ours, Object.fromEntries(keys.map((key) => [key, "old"])));

  await leaveAll(pair, left, isOurs);
  const survivor = isOurs ? pair.go : pair.ours;
  const failures = new Map<string, unknown>(ABANDONED.map(({ name }) => [name, undefined]));
  const meet = async (met: Met): Promise<void> => {
    const failure = await act(pair, met).then(() => undefined, (error: unknown) => error);
    if (failure === undefined) return;
    failures.set(met.step.name, new Error(`${met.action} by ${survivor.name}`, { cause: failure }));
  };
  // Some wait by themselves until the locks are too old, all at a time; then the clock jumps there.
  const patient = left.filter(({ step, action }) => action === "wait" && step.begin.mode === "optimistic");
  await Promise.all(patient.map((one) => meet({ ...one, action: "get", survivor })));
  pair.cluster.jumpTso(EXPIRY_MS);
  for (const action of Object.keys(ACTIONS)) {
    // Stores let each request that locks wait for a second, so these go on at a time.
    await Promise.all(left.filter((one) => one.action === action).map((one) => meet({ ...one, survivor })));
  }
  failures.set(LAST, await cleanUp(pair, left).then(() => undefined, (error: unknown) => error));
  return failures;
}

/** Makes a client leave all of them, and die. */
async function leaveAll(pair: Pair, left: readonly Left[], isOurs: boolean): Promise<void> {
  let isDead = false;
  // A client that is dead sends nothing: no clean-up, no heartbeat, no second try.
  const vanish: Interceptor = (call, next) => isDead ? goneWith(call.signal) : next(call);
  const victim = isOurs ? await pair.connectOurs([vanish]) : await pair.startGo();
  const rules = left.map(({ step, suffix }) => {
    return abandon(victim, step, { key: (name) => name + suffix, pair }).rules;
  });
  const expected = left.flatMap(({ step, suffix }) => {
    return Object.entries(step.left).map(([name, kind]) => `${name}${suffix} ${kind}`);
  }).sort();
  const seen = async (): Promise<string[]> => {
    return (await locksOf(pair.ours)).map(({ key, kind }) => `${key} ${kind}`);
  };
  await until(
    async () => rules.flat().every(({ hits }) => hits > 0) && (await seen()).join() === expected.join(),
    "",
    15_000,
  )
    .catch(() => {});
  assert.deepEqual(await seen(), expected, "the locks that are left");
  for (const [i, own] of rules.entries()) {
    assert.equal(own.every(({ hits }) => hits > 0), true, `a request was never sent: ${left[i]?.step.name}`);
  }
  isDead = true;
  // A process is gone when it is; this client takes its time to close, though it can do nothing any more.
  const ending = victim[Symbol.asyncDispose]();
  if (!isOurs) await ending;
  pair.cluster.faults.clear();
}

/** Plays one action; both clients must see the outcome afterwards. */
async function act(pair: Pair, met: Met): Promise<void> {
  const { step: { names, outcome }, action, suffix } = met;
  const play = ACTIONS[action as keyof typeof ACTIONS];
  const expected = Object.fromEntries(names.map((name) => [name, outcome]));
  const seen = await within(play(met), ACTION_LIMIT_MS);
  if (seen !== undefined) assert.deepEqual(seen, expected);
  if (action === "write") return;
  for (const client of [pair.ours, pair.go]) {
    const now = client.snapshot(await client.timestamp());
    const after = await within(now.batchGet(names.map((name) => name + suffix)), ACTION_LIMIT_MS);
    assert.deepEqual(named(after, suffix), expected, `what ${client.name} reads afterwards`);
  }
}

/** client-go resolves all locks up to now; what comes of it is what was promised. */
async function cleanUp({ go, ours }: Pair, left: readonly Left[]): Promise<void> {
  await go.collectGarbage(await go.timestamp());
  assert.deepEqual(await locksOf(ours), []);
  const expected = left.flatMap(({ step: { names, outcome }, action, suffix }) => {
    return names.map((name) => [name + suffix, action === "write" ? "third" : outcome] as const);
  }).sort(([a], [b]) => a < b ? -1 : 1);
  for (const client of [ours, go]) assert.deepEqual(await contentOf(client), expected, client.name);
}

async function scanEach({ survivor, step, suffix }: Met, reverse: boolean): Promise<Found> {
  const snapshot = survivor.snapshot(await survivor.timestamp());
  const found: Record<string, string> = {};
  for (const name of step.names) {
    const start = name + suffix;
    for (const [, value] of await snapshot.scan({ start, end: `${start}\0`, reverse })) found[name] = value;
  }
  return found;
}

function named(found: Found, suffix: string): Found {
  return Object.fromEntries(Object.entries(found).map(([key, value]) => [key.replace(suffix, ""), value]));
}

async function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Never answers; ends with the call. */
function goneWith(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    if (signal?.aborted === true) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
