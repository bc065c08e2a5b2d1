// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { type ErrorKind, TikvError } from "../../src/errors.ts";
import type { ClientEvent } from "../../src/observe/events.ts";
import { Pd } from "../../src/pd/pd_client.ts";
import type { PdOptions } from "../../src/pd/options.ts";
import { MemoryNetwork } from "../../src/rpc/memory.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../src/testing/seeded_random.ts";
import { ScriptedPd, type ScriptedPdOptions } from "./scripted_pd.ts";

/** A scripted PD, and what is needed to connect to it. */
export interface PdNetwork {
  readonly clock: ManualClock;
  readonly network: MemoryNetwork;
  readonly cluster: ScriptedPd;
  readonly events: ClientEvent[];
  /** Options with which a client uses this network. */
  readonly options: PdOptions;
}

/** A network with a scripted PD on a clock that is moved by hand. */
export function pdNetwork(options: ScriptedPdOptions = {}): PdNetwork {
  const clock = new ManualClock();
  const environment = { clock, random: new SeededRandom(1) };
  const network = new MemoryNetwork(environment);
  const events: ClientEvent[] = [];
  const cluster = new ScriptedPd(network, options);
  return {
    clock,
    network,
    cluster,
    events,
    options: { environment, transport: network.transport(), observe: (event) => void events.push(event) },
  };
}

/** The same with a connected client. */
export async function pdSetup(
  options: ScriptedPdOptions & { readonly pd?: PdOptions } = {},
): Promise<PdNetwork & { readonly pd: Pd }> {
  const setup = pdNetwork(options);
  const pd = await setup.clock.run(Pd.connect(setup.cluster.addresses, { ...setup.options, ...options.pd }));
  return { ...setup, pd };
}

/** Asserts that a promise rejects with a {@linkcode TikvError} of this kind, and returns it. */
export async function rejectsKind(promise: Promise<unknown>, kind: ErrorKind): Promise<TikvError> {
  const error = await promise.then(
    (value) => assert.fail(`expected "${kind}", got a value: ${String(value)}`),
    (error: unknown) => error,
  );
  assert.ok(TikvError.is(error), `expected a TikvError, got ${error}`);
  assert.equal(error.kind, kind, error.message);
  return error;
}
