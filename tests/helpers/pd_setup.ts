// SPDX-License-Identifier: Apache-2.0

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
