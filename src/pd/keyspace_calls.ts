// SPDX-License-Identifier: Apache-2.0

import { Keyspace, type KeyspaceMeta, KeyspaceState } from "../../gen/keyspacepb_pb.ts";
import { TikvError } from "../errors.ts";
import { isPdText, isUnimplemented, PdError } from "./pd_error.ts";
import type { PdCall, PdLink } from "./pd_link.ts";

/** Whether a keyspace can be used. It can go forward from one state to the next, and back to `"enabled"` once. */
export type PdKeyspaceState = "enabled" | "disabled" | "archived" | "tombstone";

/** A keyspace as PD knows it. */
export interface PdKeyspace {
  /** The last three bytes of the prefix of its keys. */
  readonly id: number;
  /** Unique in the cluster. */
  readonly name: string;
  /** Whether it can be used. */
  readonly state: PdKeyspaceState;
  /** Seconds since 1970. */
  readonly createdAtSeconds: number;
  /** Seconds since 1970. */
  readonly stateChangedAtSeconds: number;
  /** What it was created with. */
  readonly config: ReadonlyMap<string, string>;
}

/** The keyspaces of a cluster, one call each. */
export class KeyspaceCalls {
  readonly #link: PdLink;
  #hasLoadById = true;

  constructor(link: PdLink) {
    this.#link = link;
  }

  /** A keyspace by its name, in whatever state; undefined when there is none. */
  async byName(name: string, call: PdCall): Promise<PdKeyspace | undefined> {
    const { header } = this.#link;
    return await orUndefined(() => this.#link.call(Keyspace.method.loadKeyspace, { header, name }, call));
  }

  /** A keyspace by its id, in whatever state; undefined when there is none. */
  async byId(id: number, call: PdCall): Promise<PdKeyspace | undefined> {
    if (this.#hasLoadById) {
      const keyspace = { case: "id", value: id } as const;
      const request = { header: this.#link.header, keyspace };
      try {
        return await orUndefined(() => this.#link.call(Keyspace.method.loadKeyspaceByID, request, call));
      } catch (error) {
        // PD 8.1 cannot do this, but it can list keyspaces from an id on.
        if (!isUnimplemented(error)) throw error;
        this.#hasLoadById = false;
      }
    }
    const [first] = await this.page(id, 1, call);
    return first?.id === id ? first : undefined;
  }

  /** A keyspace that can be used; every other one is a `keyspace-not-found` error. */
  async enabled(name: string, call: PdCall): Promise<PdKeyspace> {
    const keyspace = await this.byName(name, call);
    if (keyspace?.state === "enabled") return keyspace;
    const seen = keyspace === undefined
      ? "PD does not know it"
      : `its state is "${keyspace.state}", expected "enabled"`;
    throw new TikvError("keyspace-not-found", `Cannot use keyspace "${name}": ${seen}`);
  }

  /** Up to `limit` keyspaces with ids from `startId`, in order. */
  async page(startId: number, limit: number, call: PdCall): Promise<PdKeyspace[]> {
    const startKeyspace = { case: "startId", value: startId } as const;
    const request = { header: this.#link.header, startKeyspace, limit };
    const reply = await this.#link.call(Keyspace.method.getAllKeyspaces, request, call);
    return reply.keyspaces.map(readKeyspace);
  }

  /** Moves a keyspace to another state. */
  async update(id: number, state: PdKeyspaceState, call: PdCall): Promise<PdKeyspace> {
    const request = {
      header: this.#link.header,
      keyspace: { case: "id", value: id } as const,
      state: STATES.indexOf(state) as KeyspaceState,
    };
    const updated = await orUndefined(() =>
      this.#link.call(Keyspace.method.updateKeyspaceState, request, { ...call, isWrite: true })
    );
    if (updated !== undefined) return updated;
    throw new TikvError("keyspace-not-found", `Cannot update keyspace ${id}: PD does not know it`);
  }
}

async function orUndefined(
  load: () => Promise<{ readonly keyspace?: KeyspaceMeta | undefined }>,
): Promise<PdKeyspace | undefined> {
  try {
    const { keyspace } = await load();
    return keyspace === undefined ? undefined : readKeyspace(keyspace);
  } catch (error) {
    const isUnknown = error instanceof PdError && error.code === "ENTRY_NOT_FOUND";
    if (isUnknown || isPdText(error, "keyspace-not-found")) return undefined;
    throw error;
  }
}

function readKeyspace(meta: KeyspaceMeta): PdKeyspace {
  // Trap 37: the identities of API version 3 are not numbers.
  if (meta.keyspace.case === "keyspaceIdentity") {
    throw new TikvError(
      "unsupported",
      `Cannot use keyspace "${meta.name}": it has an identity of API version 3`,
    );
  }
  return {
    // A PD that predates identities leaves out an id of 0, the one of "DEFAULT".
    id: meta.keyspace.value ?? 0,
    name: meta.name,
    state: STATES[meta.state] ?? "tombstone",
    createdAtSeconds: Number(meta.createdAt),
    stateChangedAtSeconds: Number(meta.stateChangedAt),
    config: new Map(Object.entries(meta.config)),
  };
}

/** In the order of `keyspacepb.KeyspaceState`. */
const STATES: readonly PdKeyspaceState[] = ["enabled", "disabled", "archived", "tombstone"];
