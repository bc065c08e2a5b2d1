// SPDX-License-Identifier: Apache-2.0
// A cluster and its clients in virtual time, in which every chance comes from one seed.

import { type Client, connect, type ConnectOptions } from "../../src/client.ts";
import { MemoryNetwork } from "../../src/rpc/memory.ts";
import { Playground } from "../../src/playground/mod.ts";
import { ManualClock, SeededRandom } from "../../src/testing/mod.ts";
import { Nemesis } from "./nemesis.ts";

/** What a simulation is made of. */
export interface SimulationOptions {
  /** @default {3} */
  readonly clients?: number | undefined;
  /** @default three borders among the letters */
  readonly splitKeys?: readonly string[] | undefined;
  /** Whether the cluster is in trouble while the body runs. @default {true} */
  readonly hasTrouble?: boolean | undefined;
  /** Whether clients vanish and others come. @default {true} */
  readonly clientsVanish?: boolean | undefined;
}

/** Its client has vanished: nobody will ever hear what came of what it did. */
export class Vanished extends Error {}

/** A client that can vanish. */
export class SimClient {
  readonly client: Client;
  readonly #vanished: Promise<never>;
  readonly #vanish: (reason: unknown) => void;
  readonly #state: { isGone: boolean };

  private constructor(client: Client, state: { isGone: boolean }) {
    this.client = client;
    this.#state = state;
    let vanish: (reason: unknown) => void = () => {};
    this.#vanished = new Promise<never>((_, reject) => vanish = reject);
    this.#vanished.catch(() => {});
    this.#vanish = vanish;
  }

  static async open(cluster: Playground, options: ConnectOptions): Promise<SimClient> {
    const state = { isGone: false };
    const never = new Promise<never>(() => {});
    const client = await connect(cluster, {
      timeoutMs: 10_000,
      ...options,
      interceptors: [async (call, next) => {
        if (state.isGone) return await never;
        const reply = await next(call);
        return state.isGone ? await never : reply;
      }],
    });
    return new SimClient(client, state);
  }

  get isGone(): boolean {
    return this.#state.isGone;
  }

  /** It sends nothing and hears nothing any more. */
  vanish(): void {
    this.#state.isGone = true;
    this.#vanish(new Vanished("the client has vanished"));
  }

  /** Settles with the promise, or fails when the client vanishes. */
  race<T>(promise: Promise<T>): Promise<T> {
    promise.catch(() => {});
    return Promise.race([promise, this.#vanished]);
  }
}

/** A cluster, its clients, and the trouble that they are in. */
export class Simulation {
  readonly seed: number;
  readonly random: SeededRandom;
  readonly clock: ManualClock;
  readonly cluster: Playground;
  readonly #clients: SimClient[] = [];
  readonly #gone: SimClient[] = [];
  #order = 0;

  constructor(
    { seed, random, clock, cluster }: Pick<Simulation, "seed" | "random" | "clock" | "cluster">,
  ) {
    this.seed = seed;
    this.random = random;
    this.clock = clock;
    this.cluster = cluster;
  }

  /** A number for a moment: larger than that of every moment before. */
  tick(): number {
    return ++this.#order;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.timer(ms, resolve));
  }

  /** The client of a worker; others come for those that have vanished. */
  clientOf(worker: number): SimClient {
    const client = this.#clients[worker % this.#clients.length];
    if (client === undefined) throw new RangeError("Cannot choose a client: there is none");
    return client;
  }

  async addClient(): Promise<SimClient> {
    const client = await SimClient.open(this.cluster, {});
    this.#clients.push(client);
    return client;
  }

  /** One client vanishes, and another one takes its place. */
  async replaceClient(): Promise<void> {
    const index = this.random.int(this.#clients.length);
    const next = await SimClient.open(this.cluster, {});
    const [gone] = this.#clients.splice(index, 1, next);
    if (gone === undefined) return;
    gone.vanish();
    this.#gone.push(gone);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients, ...this.#gone].map(({ client }) => client.close()));
  }
}

/**
 * Runs workers on a new cluster, in trouble as the seed wants it. When all are done the trouble ends,
 * and what the body has returned is called to judge what is left.
 */
export async function simulate(
  seed: number,
  options: SimulationOptions,
  body: (sim: Simulation) => Promise<() => Promise<void>>,
): Promise<void> {
  const { clients = 3, splitKeys = ["d", "h", "m"], hasTrouble = true, clientsVanish = true } = options;
  const clock = new ManualClock();
  const random = new SeededRandom(seed);
  const environment = { clock, random: new SeededRandom(seed + 1_000_003) };
  const ofNetwork = new SeededRandom(seed + 2_000_003);
  // Mostly quick and never twice the same, so that requests overtake each other.
  const latencyMs = (): number => ofNetwork.next() * (ofNetwork.int(16) === 0 ? 50 : 4);
  const network = new MemoryNetwork(environment, { latencyMs });
  await using cluster = await Playground.start({ stores: 3, mode: "txn", environment, network, splitKeys });
  const sim = new Simulation({ seed, random, clock, cluster });
  await clock.run(
    (async () => {
      for (let i = 0; i < clients; i++) await sim.addClient();
      const nemesis = new Nemesis(sim, { clientsVanish });
      const stop = hasTrouble ? nemesis.start() : () => Promise.resolve();
      let judge: () => Promise<void>;
      try {
        judge = await body(sim);
      } finally {
        await stop();
      }
      await judge();
      await sim.close();
    })(),
    LIMIT_MS,
  );
}

/** Everything ends by then, whatever the trouble. */
const LIMIT_MS = 600_000;
