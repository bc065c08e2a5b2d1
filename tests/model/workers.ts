// SPDX-License-Identifier: Apache-2.0
// Workers that do the same kind of thing side by side, and what they come to together.

import assert from "node:assert/strict";
import type { BeginOptions } from "../../src/txn/begin_options.ts";
import type { SnapshotOptions } from "../../src/txn/snapshot/snapshot_options.ts";
import type { Outcome } from "./recorded.ts";
import type { SimClient, Simulation } from "./simulation.ts";

/** One step of a worker. */
export type Step = (client: SimClient, worker: number) => Promise<Outcome>;

/** Counts how steps ended, so that a test can tell that it was about something. */
export class Tally {
  readonly outcomes: Partial<Record<Outcome, number>> = {};
  readonly paths: Record<string, number> = {};

  add(outcome: Outcome): void {
    this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
  }

  /** The share of steps that were committed. */
  get share(): number {
    const all = Object.values(this.outcomes).reduce((sum, count) => sum + count, 0);
    return (this.outcomes.committed ?? 0) / all;
  }

  addPath(path: string | undefined): void {
    if (path !== undefined) this.paths[path] = (this.paths[path] ?? 0) + 1;
  }

  toString(): string {
    return `${JSON.stringify(this.outcomes)}, committed by ${JSON.stringify(this.paths)}`;
  }
}

/** Lets workers take steps, with pauses that the seed draws. */
export async function runWorkers(
  sim: Simulation,
  { workers, steps, tally, step, pauseMs = 60 }: {
    readonly workers: number;
    readonly steps: number;
    readonly tally: Tally;
    readonly step: Step;
    readonly pauseMs?: number | undefined;
  },
): Promise<void> {
  await Promise.all(Array.from({ length: workers }, async (_, worker) => {
    for (let i = 0; i < steps; i++) {
      tally.add(await step(sim.clientOf(worker), worker));
      await sim.sleep(pauseMs * sim.random.next());
    }
  }));
}

/** Any of the ways to commit, in any mode unless one is given. */
export function anyOptions(
  { random }: Simulation,
  tally: Tally,
  mode: "optimistic" | "pessimistic" | "mixed" = "mixed",
): BeginOptions {
  return {
    mode: mode === "mixed" ? random.pick(["optimistic", "pessimistic"] as const) : mode,
    commit: random.pick(["auto", "auto", "1pc", "async", "2pc"] as const),
    onCommit: ({ error, path }) => tally.addPath(error === undefined ? path : undefined),
  };
}

/** A snapshot that any replica may answer. */
export function anyReplica({ random }: Simulation): SnapshotOptions {
  return { replicaRead: random.pick(["leader", "leader", "follower", "mixed", "prefer-leader"] as const) };
}

/** Some of a list, each once, in an order that the seed draws. */
export function someOf<T>({ random }: Simulation, list: readonly T[], count: number): T[] {
  const rest = [...list];
  return Array.from({ length: Math.min(count, list.length) }, () => {
    const [one] = rest.splice(random.int(rest.length), 1);
    assert.ok(one !== undefined);
    return one;
  });
}
