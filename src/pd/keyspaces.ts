// SPDX-License-Identifier: Apache-2.0

import { checkNumber } from "../options.ts";
import type { CallOptions } from "../types.ts";
import type { KeyspaceCalls, PdKeyspace, PdKeyspaceState } from "./keyspace_calls.ts";
import type { PdRun } from "./pd_link.ts";

/**
 * The keyspaces of a cluster of API version 2. A cluster without them answers with `unsupported`
 * or a `server` error.
 */
export class PdKeyspaces {
  readonly #calls: KeyspaceCalls;
  readonly #run: PdRun;

  /** For {@linkcode Pd.keyspaces}. */
  constructor(calls: KeyspaceCalls, run: PdRun) {
    this.#calls = calls;
    this.#run = run;
  }

  /** Looks up a keyspace by its name, in whatever state; undefined when there is none. */
  get(name: string, options: CallOptions = {}): Promise<PdKeyspace | undefined> {
    return this.#run("pd.keyspaces.get", options, (call) => this.#calls.byName(name, call));
  }

  /** Looks up a keyspace by its id, in whatever state; undefined when there is none. */
  getById(id: number, options: CallOptions = {}): Promise<PdKeyspace | undefined> {
    return this.#run("pd.keyspaces.getById", options, (call) => this.#calls.byId(checkKeyspaceId(id), call));
  }

  /** Looks up a keyspace that can be used; any other is a `keyspace-not-found` error that says why. */
  getEnabled(name: string, options: CallOptions = {}): Promise<PdKeyspace> {
    return this.#run("pd.keyspaces.getEnabled", options, (call) => this.#calls.enabled(name, call));
  }

  /** Lists all keyspaces in order of their ids, a page at a time; `timeoutMs` is the time for a page. */
  async *list(options: CallOptions = {}): AsyncGenerator<PdKeyspace, void> {
    for (let startId = 0; startId <= MAX_ID;) {
      const from = startId;
      const page = await this.#run(
        "pd.keyspaces.list",
        options,
        (call) => this.#calls.page(from, PAGE, call),
      );
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) return;
      startId = last.id + 1;
    }
  }

  /** Moves a keyspace to another state; PD refuses moves that its life does not have. */
  setState(id: number, state: PdKeyspaceState, options: CallOptions = {}): Promise<PdKeyspace> {
    return this.#run("pd.keyspaces.setState", options, (call) => {
      if (!STATES.includes(state)) {
        throw new RangeError(`Cannot use "${state}" as a state: expected one of ${STATES.join(", ")}`);
      }
      return this.#calls.update(checkKeyspaceId(id), state, call);
    });
  }
}

function checkKeyspaceId(id: number): number {
  return checkNumber("id", id, { min: 0, max: MAX_ID, isWhole: true });
}

const STATES: readonly string[] = [
  "enabled",
  "disabled",
  "archived",
  "tombstone",
] satisfies PdKeyspaceState[];
const MAX_ID = 0xff_ffff;
const PAGE = 100;
