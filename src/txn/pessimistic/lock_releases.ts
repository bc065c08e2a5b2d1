// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../../async/operation.ts";
import { KeyMap } from "../../bytes/key_map.ts";
import { type Release, releaseInBackground } from "../commit/committer_cleanup.ts";
import type { TxnIdentity } from "../commit/committer_run.ts";

/**
 * Pessimistic locks on their way back. It is the client that gives them back, in its own time: the
 * caller whose lock call failed may have given up.
 */
export class LockReleases {
  readonly #txn: TxnIdentity;
  readonly #running = new KeyMap<Promise<void>>();

  constructor(txn: TxnIdentity) {
    this.#txn = txn;
  }

  /** Begins to give locks back. The promise resolves when that is over, however it ended. */
  async start(release: Release): Promise<void> {
    const { keys } = release;
    if (keys.length === 0) return;
    const done = releaseInBackground(this.#txn, release);
    for (const key of keys) this.#running.set(key, done);
    await done;
    for (const key of keys) if (this.#running.get(key) === done) this.#running.delete(key);
  }

  /**
   * Waits until none of the keys is being given back: a lock that is taken meanwhile could be gone right
   * afterwards.
   */
  async wait(keys: readonly Uint8Array[], operation: Operation): Promise<void> {
    const waits = keys.flatMap((key) => this.#running.get(key) ?? []);
    if (waits.length > 0) await operation.deadline.race(Promise.all(waits), "give locks back");
  }
}
