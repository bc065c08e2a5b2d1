// SPDX-License-Identifier: Apache-2.0

import { KeyspaceState } from "../../gen/keyspacepb_pb.ts";
import type { Clock } from "../async/clock.ts";

/** A keyspace as PD keeps it. */
export interface Keyspace {
  /** A number of 24 bits, part of every key. */
  readonly id: number;
  /** Its name, unique in the cluster. */
  readonly name: string;
  /** Whether it may be used. */
  readonly state: KeyspaceState;
  /** Second since 1970 in which it was made. */
  readonly createdAt: bigint;
  /** Second since 1970 of the last change of state. */
  readonly stateChangedAt: bigint;
  /** Settings by name. */
  readonly config: Readonly<Record<string, string>>;
}

/** The keyspace that every cluster of API V2 has. */
export const DEFAULT_KEYSPACE = "DEFAULT";

/** The largest id that fits in the three bytes of a key prefix. */
const MAX_KEYSPACE_ID = 0xffffff;

/** To which states a keyspace may go from each (`stateTransitionTable` in PD's `pkg/keyspace`). */
const TRANSITIONS: Readonly<Record<KeyspaceState, readonly KeyspaceState[]>> = {
  [KeyspaceState.ENABLED]: [KeyspaceState.ENABLED, KeyspaceState.DISABLED],
  [KeyspaceState.DISABLED]: [KeyspaceState.DISABLED, KeyspaceState.ENABLED, KeyspaceState.ARCHIVED],
  [KeyspaceState.ARCHIVED]: [KeyspaceState.ARCHIVED, KeyspaceState.TOMBSTONE],
  [KeyspaceState.TOMBSTONE]: [KeyspaceState.TOMBSTONE],
};

/** Keyspaces by name and id. */
export class Keyspaces {
  readonly #clock: Clock;
  readonly #byId = new Map<number, Keyspace>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#add(0, DEFAULT_KEYSPACE, {});
  }

  /** Makes a keyspace with the next free id, or with the one given. */
  create(
    name: string,
    options: {
      readonly id?: number | undefined;
      readonly config?: Readonly<Record<string, string>> | undefined;
    } = {},
  ): Keyspace {
    if (this.byName(name) !== undefined) throw new RangeError(`Cannot create keyspace "${name}": it exists`);
    const id = options.id ?? Math.max(...this.#byId.keys()) + 1;
    if (!Number.isInteger(id) || id < 0 || id > MAX_KEYSPACE_ID || this.#byId.has(id)) {
      throw new RangeError(`Cannot create keyspace "${name}": id ${id} is taken or not a number of 24 bits`);
    }
    return this.#add(id, name, options.config ?? {});
  }

  byName(name: string): Keyspace | undefined {
    for (const keyspace of this.#byId.values()) if (keyspace.name === name) return keyspace;
    return undefined;
  }

  byId(id: number): Keyspace | undefined {
    return this.#byId.get(id);
  }

  /** Keyspaces from this id on, in the order of their ids; all of them when `limit` is 0. */
  list(startId: number, limit: number): readonly Keyspace[] {
    const found = [...this.#byId.values()].filter(({ id }) => id >= startId).sort((a, b) => a.id - b.id);
    return limit > 0 ? found.slice(0, limit) : found;
  }

  /** Moves a keyspace to another state; undefined when that is not allowed. */
  setState(id: number, state: KeyspaceState): Keyspace | undefined {
    const keyspace = this.#byId.get(id);
    if (keyspace === undefined || id === 0) return undefined;
    if (TRANSITIONS[keyspace.state]?.includes(state) !== true) return undefined;
    if (keyspace.state === state) return keyspace;
    const changed: Keyspace = { ...keyspace, state, stateChangedAt: this.#now() };
    this.#byId.set(id, changed);
    return changed;
  }

  #add(id: number, name: string, config: Readonly<Record<string, string>>): Keyspace {
    const now = this.#now();
    const keyspace: Keyspace = {
      id,
      name,
      state: KeyspaceState.ENABLED,
      createdAt: now,
      stateChangedAt: now,
      config,
    };
    this.#byId.set(id, keyspace);
    return keyspace;
  }

  #now(): bigint {
    return BigInt(Math.floor(this.#clock.wallNow() / 1000));
  }
}
