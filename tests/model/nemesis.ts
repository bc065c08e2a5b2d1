// SPDX-License-Identifier: Apache-2.0
// The trouble that a cluster is in: what happens, and how often, is drawn from the seed.

import { fault, type FaultEffect, type FaultRule, type Region } from "../../src/playground/mod.ts";
import type { Simulation } from "./simulation.ts";

/** Makes trouble until it is stopped. */
export class Nemesis {
  readonly #sim: Simulation;
  readonly #actions: readonly (() => Promise<void>)[];
  readonly #meanMs: number;
  readonly #stopped = new Set<bigint>();
  readonly #rules: FaultRule[] = [];
  #isOver = false;

  constructor(sim: Simulation, { clientsVanish }: { readonly clientsVanish: boolean }) {
    this.#sim = sim;
    const { random } = sim;
    const kinds: (readonly [weight: number, act: () => Promise<void>])[] = [
      [4, () => this.#split()],
      [3, () => this.#merge()],
      [4, () => this.#moveLeader()],
      [2, () => this.#bounceStore()],
      [2, () => this.#cut()],
      [1, () => this.#loseLocks()],
      [1, () => this.#stallTso()],
      [1, () => this.#freezePd()],
      [8, () => this.#disturbRequests()],
      [clientsVanish ? 1 : 0, () => this.#replaceClient()],
    ];
    // Each seed has some kinds of trouble only: what one kind hides from another shows then.
    const some = kinds.filter(() => random.int(3) > 0);
    this.#actions = some.flatMap(([weight, act]) => Array.from({ length: weight }, () => act));
    this.#meanMs = random.pick([15, 50, 150, 400]);
  }

  /** Begins. The function that is returned ends it and mends the cluster. */
  start(): () => Promise<void> {
    const running = this.#run();
    return async () => {
      this.#isOver = true;
      await running;
      const { cluster } = this.#sim;
      cluster.faults.clear();
      cluster.freezePdRegions(false);
      for (const id of [...this.#stopped]) await this.#startStore(id);
    };
  }

  async #run(): Promise<void> {
    const { random } = this.#sim;
    const until = this.#sim.clock.now() + LONGEST_MS;
    while (!this.#isOver && this.#sim.clock.now() < until) {
      await this.#sim.sleep(this.#meanMs * 2 * random.next());
      if (this.#isOver || this.#actions.length === 0) return;
      await random.pick(this.#actions)();
    }
  }

  #region(): Region {
    return this.#sim.random.pick(this.#sim.cluster.regions());
  }

  async #split(): Promise<void> {
    const letters = "abcdefghijklmnopqrstuvwxyz";
    await this.#sim.cluster.split(letters.charAt(this.#sim.random.int(letters.length)));
  }

  async #merge(): Promise<void> {
    const region = this.#region();
    if (region.start.length > 0) await this.#sim.cluster.merge(region.start, { isEncoded: true });
  }

  #moveLeader(): Promise<void> {
    return this.#sim.cluster.moveLeader(this.#region().id);
  }

  async #loseLocks(): Promise<void> {
    const { id } = this.#region();
    await this.#sim.cluster.moveLeader(id);
    this.#sim.cluster.losePessimisticLocks(id);
  }

  #stallTso(): Promise<void> {
    this.#sim.cluster.stallTso(500 * this.#sim.random.next());
    return Promise.resolve();
  }

  async #freezePd(): Promise<void> {
    const { cluster, random } = this.#sim;
    cluster.freezePdRegions(true);
    await this.#sim.sleep(300 * random.next());
    cluster.freezePdRegions(false);
  }

  /** A store is away for a while. There are always two others, which elect leaders. */
  #bounceStore(): Promise<void> {
    const { cluster, random } = this.#sim;
    if (this.#stopped.size > 0) return Promise.resolve();
    const { id } = random.pick(cluster.stores());
    this.#stopped.add(id);
    void (async () => {
      await cluster.stopStore(id);
      await this.#sim.sleep(2_000 * random.next());
      await this.#startStore(id);
    })();
    return Promise.resolve();
  }

  async #startStore(id: bigint): Promise<void> {
    if (!this.#stopped.delete(id)) return;
    await this.#sim.cluster.startStore(id);
  }

  #cut(): Promise<void> {
    const { cluster, random } = this.#sim;
    cluster.cutStore(random.pick(cluster.stores()).id);
    return Promise.resolve();
  }

  /** Rarely: what its transactions have locked stays so for a long time. */
  async #replaceClient(): Promise<void> {
    if (this.#sim.random.int(8) === 0) await this.#sim.replaceClient();
  }

  #disturbRequests(): Promise<void> {
    const { cluster, random } = this.#sim;
    const effect: FaultEffect = random.pick([
      () => fault.dropReply(),
      () => fault.dropReply(),
      () => fault.dropRequest(),
      () => fault.delay(3_000 * random.next()),
      () => fault.delay(15_000 * random.next()),
      () => fault.cutStream({ isExecuted: random.int(2) === 0 }),
      () => fault.duplicate(),
      () => fault.serverIsBusy({ estimatedWaitMs: random.int(100) }),
      () => fault.staleCommand(),
      () => fault.epochNotMatch(),
      () => fault.notLeader(),
    ])();
    // Rules that hit rarely would become so many that nothing ever gets through.
    if (this.#rules.length >= RULES) this.#rules.shift()?.remove();
    this.#rules.push(cluster.faults.add({
      method: random.int(4) === 0 ? METHODS : random.pick(METHODS),
      times: random.int(8) === 0 ? 20 : 1 + random.int(3),
      probability: random.pick([1, 0.5, 0.2]),
    }, effect));
    return Promise.resolve();
  }
}

const RULES = 4;
/** Then the cluster is left in peace, except for stores that are still away and requests on their way. */
const LONGEST_MS = 120_000;

const METHODS: readonly string[] = [
  "KvGet",
  "KvBatchGet",
  "KvScan",
  "KvPrewrite",
  "KvPrewrite",
  "KvCommit",
  "KvCommit",
  "KvPessimisticLock",
  "KVPessimisticRollback",
  "KvBatchRollback",
  "KvCheckTxnStatus",
  "KvCheckSecondaryLocks",
  "KvResolveLock",
  "KvTxnHeartBeat",
];
