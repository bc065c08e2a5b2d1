// SPDX-License-Identifier: Apache-2.0
// One point of a grid: a transaction whose client vanishes after one of its requests, something that
// happens to the cluster before another one, and clients that come afterwards and judge what is left.

import assert from "node:assert/strict";
import { fault, type FaultEffect } from "../../src/playground/mod.ts";
import { UndeterminedError } from "../../src/errors.ts";
import type { BeginOptions } from "../../src/txn/begin_options.ts";
import type { Transactions } from "../../src/txn/begin.ts";
import type { Transaction } from "../../src/txn/transaction_api.ts";
import { utf8Decode } from "../../src/bytes/utf8.ts";
import type { ClientParts } from "../../src/client/parts.ts";
import { lockedKeys, startWorld, type World } from "../unit/txn/txn_world.ts";

const ALL_KEYS = ["a", "b", "m", "y", "z"];
const OLD = "old";
const NEW = "new";
const RIVAL = "rival";
const HELPER = "helper";

/** How the transaction is committed. */
export const PATHS: Readonly<
  Record<string, { readonly keys: readonly string[]; readonly options: BeginOptions }>
> = {
  "optimistic in two phases": { keys: ALL_KEYS, options: { commit: "2pc" } },
  "optimistic async commit": { keys: ALL_KEYS, options: { commit: "async" } },
  "optimistic in one phase": { keys: ["a", "b"], options: { commit: "1pc" } },
  "optimistic, whatever fits": { keys: ["a", "b"], options: {} },
  "pessimistic in two phases": { keys: ALL_KEYS, options: { commit: "2pc", mode: "pessimistic" } },
  "pessimistic async commit": { keys: ALL_KEYS, options: { commit: "async", mode: "pessimistic" } },
  "pessimistic in one phase": { keys: ["a", "b"], options: { commit: "1pc", mode: "pessimistic" } },
};

interface Scene {
  readonly world: World;
  /** Begins a transaction of somebody else; it goes on by itself. */
  readonly startRival: (mode: "optimistic" | "pessimistic") => Promise<void>;
}

/** What happens right before a request, to the cluster, and then to the request itself. */
interface Happening {
  /** Also happens right after the client has vanished. */
  readonly act?: ((scene: Scene) => Promise<void>) | undefined;
  readonly effect?: FaultEffect | undefined;
}

const startRival = ({ startRival }: Scene): Promise<void> => startRival("optimistic");

/** Everything that happens in between, by its name. */
export const EVENTS = {
  "nothing": {},
  "split": { act: ({ world }) => world.cluster.split("b") },
  "merge": { act: ({ world }) => world.cluster.merge("m") },
  "leader-move": { act: ({ world }) => moveLeaders(world) },
  "store-stop": {
    act: ({ world: { cluster } }) => cluster.stopStore(cluster.regionOf("a").leader?.storeId ?? 1n),
  },
  "lost-locks": {
    act: ({ world }) => {
      for (const key of ["a", "z"]) world.cluster.losePessimisticLocks(key);
      return moveLeaders(world);
    },
  },
  "rival": { act: startRival },
  "locking-rival": { act: ({ startRival }) => startRival("pessimistic") },
  "lost-reply": { effect: fault.dropReply() },
  "lost-request": { effect: fault.dropRequest() },
  "cut": { effect: fault.cutStream() },
  "cut-executed": { effect: fault.cutStream({ isExecuted: true }) },
  "twice": { effect: fault.duplicate() },
  // It arrives when everybody has forgotten it.
  "late": { effect: fault.delay(45_000) },
  // The rival has resolved the locks before the request is sent again, or arrives.
  "lost-reply-rival": { act: startRival, effect: fault.dropReply() },
  "lost-request-rival": { act: startRival, effect: fault.dropRequest() },
  "late-rival": { act: startRival, effect: fault.delay(4_000) },
  // The region is another one before the request is sent again.
  "lost-reply-split": {
    act: ({ world }) => afterwards(world, () => world.cluster.split("b")),
    effect: fault.dropReply(),
  },
  // Stores answer from then on, but none that could do it, until the time of the commit is over.
  "lost-reply-leaderless": {
    act: ({ world }) => {
      const keys = ["a", "z"];
      world.clock.timer(LEADERLESS_MS, () => keys.forEach((key) => void world.cluster.moveLeader(key)));
      return afterwards(world, async () => {
        for (const key of keys) await world.cluster.dropLeader(key);
      });
    },
    effect: fault.dropReply(),
  },
  "lost-reply-merge": {
    act: ({ world }) => afterwards(world, () => world.cluster.merge("m")),
    effect: fault.dropReply(),
  },
} as const satisfies Readonly<Record<string, Happening>>;

export type EventName = keyof typeof EVENTS;

/** What the next client does, which may vanish as well. */
export type HelperKind = "reads" | "writes" | "locks";

/** One point of the grid. */
export interface Point {
  readonly path: string;
  /** The client sends nothing, and hears nothing, after this many requests; `Infinity`: it lives. */
  readonly diesAfter: number;
  readonly event: EventName;
  /** The event comes before the request with this number; 0 is the first. */
  readonly eventAt: number;
  /** Who comes next, and vanishes after so many requests. */
  readonly helper?: { readonly kind: HelperKind; readonly diesAfter: number } | undefined;
}

/** What came of a point. */
export interface Played {
  /** Requests that the client would have sent if it had not vanished. */
  readonly requests: number;
  readonly helperRequests: number;
  /** What the client was told in the end. */
  readonly fate: Fate;
  /** Whether the writes of the client were there when the first reader came. */
  readonly isCommitted: boolean;
}

export type Fate = "open" | "committed" | "failed" | "undetermined";

/** A client that can vanish: a moment after that it is as if its machine was gone. */
class Mortal {
  readonly txns: Transactions;
  readonly parts: ClientParts;
  /** Requests of it that were sent, or would have been. */
  requests = 0;
  diesAfter = Infinity;
  isArmed = false;
  beforeRequest: (number: number, method: string) => Promise<void> = () => Promise.resolve();
  readonly died: Promise<void>;
  #die: () => void = () => {};
  readonly #never = new Promise<never>(() => {});

  private constructor(client: { readonly parts: ClientParts; readonly txns: Transactions }) {
    this.parts = client.parts;
    this.txns = client.txns;
    this.died = new Promise((resolve) => this.#die = resolve);
  }

  static async open(world: World): Promise<Mortal> {
    const self: { mortal?: Mortal } = {};
    const client = await world.open({
      interceptors: [async (call, next) => {
        const { mortal } = self;
        if (mortal === undefined || !mortal.isArmed) return await next(call);
        return await mortal.#send(call.method, () => next(call));
      }],
    });
    return self.mortal = new Mortal(client);
  }

  async #send(method: string, send: () => Promise<unknown>): Promise<unknown> {
    const number = this.requests++;
    if (number <= this.diesAfter) await this.beforeRequest(number, method);
    if (number >= this.diesAfter) {
      this.#die();
      return await this.#never;
    }
    const reply = await send();
    return this.requests > this.diesAfter ? await this.#never : reply;
  }
}

/** Plays one point and judges what everybody saw. */
export async function play(point: Point): Promise<Played> {
  const { keys, options } = pathOf(point);
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock, cluster } = world;
  const reader = await world.open({ timeoutMs: 60_000 });
  await clock.run(reader.txns.run((txn) => putAll(txn, keys, OLD)));
  const rival = new Rival(isRivalEvent(point.event) ? await world.open({ timeoutMs: 60_000 }) : reader, keys);
  const writer = await Mortal.open(world);
  const helper = point.helper === undefined ? undefined : await Mortal.open(world);

  // Connections and regions are known before, so that only the transaction itself is counted.
  const backgrounds: Promise<void>[] = [];
  const txn = await clock.run(
    writer.txns.begin({ ...options, onBackground: ({ done }) => void backgrounds.push(done) }),
  );
  for (const key of keys) assert.equal(utf8Decode(await clock.run(txn.get(key)) ?? empty), OLD);
  const happening: Happening = EVENTS[point.event];
  writer.beforeRequest = async (number, method) => {
    if (number !== point.eventAt) return;
    await happening.act?.({ world, startRival: (mode) => rival.start(world, mode) });
    if (happening.effect !== undefined && number < point.diesAfter) {
      cluster.faults.add({ method, times: 1 }, happening.effect);
    }
  };
  writer.diesAfter = point.diesAfter;
  writer.isArmed = true;
  putAll(txn, keys, NEW);
  const end: { state: Fate; commitTs?: bigint | undefined; error?: unknown } = { state: "open" };
  const startedAt = clock.now();
  const committing = txn.commit().then(({ commitTs }) => {
    end.state = "committed";
    end.commitTs = commitTs;
  }, (error) => {
    end.state = error.kind === "undetermined" ? "undetermined" : "failed";
    end.error = error;
  });
  await clock.run(Promise.race([committing, writer.died]), COMMIT_MS);
  if (end.state !== "open") await clock.run(Promise.race([Promise.all(backgrounds), writer.died]), 60_000);
  const isDead = writer.requests > point.diesAfter;
  const note: Record<string, unknown> = { point: JSON.stringify(point) };
  const what = (text: string): string =>
    `${text}: ${JSON.stringify({ ...note, end: end.state, rival: rival.fate })}`;

  if (!isDead) {
    assert.notEqual(end.state, "open", what("the commit does not end"));
    if (SHORT_TROUBLE.has(point.event)) assert.equal(end.state, "committed", what(`it fails: ${end.error}`));
    const isBeaten = (end.error as { kind?: string } | undefined)?.kind === "write-conflict";
    if (rival.isStarted && happening.effect === undefined) {
      assert.ok(end.state === "committed" || isBeaten, what(`it fails for no reason: ${end.error}`));
    }
  }
  if (helper !== undefined && point.helper !== undefined) {
    await help(world, { helper, keys, ...point.helper });
  }

  // Before a reader has resolved anything. A rival may still be at work.
  const locksBefore = isDead || rival.isStarted ? undefined : await lockedKeys(world, reader.parts);

  // Whoever comes now sees one end of it, soon.
  const readAt = clock.now();
  const seen = await clock.run(readOneByOne(reader.txns, keys), 120_000);
  const readMs = clock.now() - readAt;
  note.seen = seen.values;
  note.readMs = readMs;
  note.commitMs = readAt - startedAt;
  const boundMs = boundOf(point);
  assert.ok(readMs <= boundMs, what(`a reader waits for longer than ${boundMs} ms`));
  const judgement = { keys, end, rival, mayBeHelper: point.helper !== undefined };

  // What was seen stays so, whatever is still on its way, and however it is read.
  await clock.advance(70_000);
  if (rival.isStarted) await clock.run(rival.done, 120_000);
  assert.notEqual(end.state, "open", what("the commit never ends"));
  const later = await clock.run(readOneByOne(reader.txns, keys), 120_000);
  note.later = later.values;
  judge(seen, judgement, what);
  judge(later, judgement, what);
  if (!rival.isStarted) assert.deepEqual(later.values, seen.values, what("what was seen has changed"));
  assert.deepEqual(
    await clock.run(readAtOnce(reader.txns, keys), 60_000),
    later.values,
    what("reads differ"),
  );

  // A definite end leaves nothing, not even what readers do not see.
  if (!isDead && helper === undefined && end.state !== "undetermined" && point.event !== "late") {
    assert.deepEqual(locksBefore ?? await lockedKeys(world, reader.parts), [], what("locks are left"));
  }

  // The fate that an undetermined commit tells later is what readers see.
  if (end.error instanceof UndeterminedError) {
    writer.isArmed = false;
    const fate = await clock.run(end.error.resolve({ timeoutMs: 60_000 }));
    note.fate = fate.state;
    const isThere = later.values.includes(NEW);
    if (!rival.hasCommitted && point.helper === undefined) {
      assert.equal(fate.state, isThere ? "committed" : "rolled-back", what("the fate is another"));
    }
  }

  // Nobody is kept from writing, and nothing is left in the end.
  const writeAt = clock.now();
  await clock.run(reader.txns.run((next) => putAll(next, keys, OLD), { timeoutMs: 60_000 }), 120_000);
  assert.ok(clock.now() - writeAt <= boundMs, what(`a writer waits for ${clock.now() - writeAt} ms`));
  await clock.advance(1_000);
  assert.deepEqual(await lockedKeys(world, reader.parts), [], what("locks are left in the end"));
  return {
    requests: writer.requests,
    helperRequests: helper?.requests ?? 0,
    fate: end.state,
    isCommitted: seen.values.includes(NEW),
  };
}

/** Somebody else who writes some of the keys in one transaction of his own. */
class Rival {
  readonly keys: readonly string[];
  readonly #client: { readonly txns: Transactions };
  done: Promise<void> = Promise.resolve();
  isStarted = false;
  fate: Fate = "open";
  startTs: bigint | undefined;
  commitTs: bigint | undefined;
  mode: "optimistic" | "pessimistic" = "optimistic";

  constructor(client: { readonly txns: Transactions }, keys: readonly string[]) {
    this.#client = client;
    this.keys = keys.filter((key) => key === "b" || key === "y");
  }

  get hasCommitted(): boolean {
    return this.fate === "committed";
  }

  /** Resolves when he has had some time, whether he is done or waits for somebody. */
  async start(world: World, mode: "optimistic" | "pessimistic"): Promise<void> {
    this.isStarted = true;
    this.mode = mode;
    this.done = this.#run(mode);
    await Promise.race([this.done, new Promise<void>((resolve) => world.clock.timer(20, resolve))]);
  }

  async #run(mode: "optimistic" | "pessimistic"): Promise<void> {
    const txn = await this.#client.txns.begin({ mode, commit: "2pc" });
    this.startTs = txn.startTs;
    try {
      if (mode === "pessimistic") await txn.lock(this.keys);
      putAll(txn, this.keys, RIVAL);
      this.commitTs = (await txn.commit()).commitTs;
      this.fate = "committed";
    } catch (error) {
      await txn.rollback().catch(() => {});
      this.fate = (error as { kind?: string }).kind === "undetermined" ? "undetermined" : "failed";
    }
  }
}

/** What a transaction has read, and at what moment. */
interface Seen {
  readonly ts: bigint;
  readonly values: readonly string[];
}

interface Judgement {
  readonly keys: readonly string[];
  readonly end: { readonly state: Fate; readonly commitTs?: bigint | undefined };
  readonly rival: Rival;
  readonly mayBeHelper: boolean;
}

/** All of a transaction or nothing of it, and what its client was told is true. */
function judge(
  { values, ts }: Seen,
  { keys, end, rival, mayBeHelper }: Judgement,
  what: (text: string) => string,
): void {
  const own = new Set<string | undefined>();
  const contested = new Set<string | undefined>();
  keys.forEach((key, index) => (rival.keys.includes(key) ? contested : own).add(values[index]));
  assert.equal(own.size, 1, what("half a transaction"));
  assert.equal(contested.size, 1, what("half of what two wrote"));
  const [value] = own;
  const [onTop] = contested;
  if (end.state === "committed") {
    assert.ok(value === NEW || (mayBeHelper && value === HELPER), what("a commit is lost"));
  }
  if (end.state === "failed") {
    assert.ok(value === OLD || (mayBeHelper && value === HELPER), what("a failure was committed"));
  }
  const { startTs = 0n, commitTs = ts + 1n, mode } = rival;
  assert.equal(
    onTop,
    commitTs <= ts ? RIVAL : value,
    what("the writes of a rival are lost, or seen too soon"),
  );
  // Two that overlap do not both commit, unless the later one has locked what it writes. A transaction
  // that begins at the very timestamp of a commit sees it.
  if (rival.hasCommitted && mode === "optimistic" && end.commitTs !== undefined) {
    assert.ok(startTs >= end.commitTs, what("two writers of one key have overlapped"));
  }
}

/** The next client at work, until it is done or vanishes. */
async function help(
  { clock }: World,
  { helper, kind, keys, diesAfter }: {
    readonly helper: Mortal;
    readonly kind: HelperKind;
    readonly keys: readonly string[];
    readonly diesAfter: number;
  },
): Promise<void> {
  helper.diesAfter = diesAfter;
  helper.isArmed = true;
  const work = (async () => {
    const mode = kind === "locks" ? "pessimistic" : "optimistic";
    const txn = await helper.txns.begin({ mode, commit: "2pc", timeoutMs: 60_000 });
    if (kind === "reads") await txn.batchGet(keys, { timeoutMs: 60_000 });
    else {
      if (kind === "locks") await txn.lock(keys, { timeoutMs: 60_000 });
      putAll(txn, keys, HELPER);
      await txn.commit({ timeoutMs: 60_000 });
    }
  })();
  await clock.run(Promise.race([work.catch(() => {}), helper.died]), 120_000);
  // What it has left to the background may still be interrupted.
  await clock.run(Promise.race([helper.died, new Promise<void>((resolve) => clock.timer(100, resolve))]));
}

function pathOf({ path }: Point): { readonly keys: readonly string[]; readonly options: BeginOptions } {
  const found = PATHS[path];
  if (found === undefined) throw new RangeError(`Cannot play "${path}": there is no such path`);
  return found;
}

/** Locks live for so long at most, and something may be in the way of finding that out. */
function boundOf({ path, helper, event }: Point): number {
  const isPessimistic = pathOf({ path } as Point).options.mode === "pessimistic" ||
    helper?.kind === "locks" || event === "locking-rival";
  const awayMs = event === "lost-reply-leaderless" ? LEADERLESS_MS : 0;
  return (isPessimistic ? 20_000 : 3_000) + awayMs + SLACK_MS;
}

function isRivalEvent(event: EventName): boolean {
  return event.endsWith("rival");
}

/** While the client waits for the answer, which takes 5 s. */
function afterwards({ clock }: World, work: () => Promise<void>): Promise<void> {
  clock.timer(1_000, () => void work());
  return Promise.resolve();
}

async function moveLeaders({ cluster }: World): Promise<void> {
  await cluster.moveLeader("a");
  await cluster.moveLeader("z");
}

function putAll(txn: Transaction, keys: readonly string[], value: string): void {
  for (const key of keys) txn.put(key, value);
}

async function readOneByOne(txns: Transactions, keys: readonly string[]): Promise<Seen> {
  const txn = await txns.begin();
  const values: string[] = [];
  for (const key of keys) values.push(utf8Decode(await txn.get(key) ?? empty));
  await txn.rollback();
  return { ts: txn.startTs, values };
}

async function readAtOnce(txns: Transactions, keys: readonly string[]): Promise<string[]> {
  const txn = await txns.begin();
  const found = await txn.batchGet(keys);
  const values = keys.map((key) => utf8Decode(found.get(key) ?? empty));
  const scanned: string[] = [];
  for await (const { value } of txn.scan({ start: "a" })) scanned.push(utf8Decode(value));
  assert.deepEqual(scanned, values, "a scan and a batch see the same");
  await txn.rollback();
  return values;
}

/** Nobody else is there, and it is over before the time of the commit is. */
const SHORT_TROUBLE: ReadonlySet<EventName> = new Set<EventName>([
  "nothing",
  "split",
  "merge",
  "leader-move",
  "store-stop",
  "lost-reply",
  "lost-request",
  "cut",
  "cut-executed",
  "twice",
  "lost-reply-split",
  "lost-reply-merge",
]);

const empty = new Uint8Array(0);
/** The time of the call, and some for what it does when that is over. */
const COMMIT_MS = 30_000;
const SLACK_MS = 2_000;
const LEADERLESS_MS = 25_000;
