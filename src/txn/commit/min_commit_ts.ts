// SPDX-License-Identifier: Apache-2.0

/** Who wants it raised: signs of life while the transaction runs, or its commit. */
export type MinCommitTsWriter = "heartbeat" | "commit";

/**
 * The least that a transaction may be committed at. It only grows. From the moment at which the commit
 * begins nobody else raises it: a sign of life that comes late must not move a timestamp that the
 * commit is just deciding by.
 */
export class MinCommitTs {
  #value = 0n;
  #isCommitting = false;

  get value(): bigint {
    return this.#value;
  }

  /** Takes it over for the commit. */
  beginCommit(): void {
    this.#isCommitting = true;
  }

  /** Raises it to `ts`, if that is more and the writer is still allowed to. */
  raise(ts: bigint, by: MinCommitTsWriter): void {
    if (by === "heartbeat" && this.#isCommitting) return;
    if (ts > this.#value) this.#value = ts;
  }
}
