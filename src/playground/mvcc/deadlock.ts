// SPDX-License-Identifier: Apache-2.0
// Who waits for whom, over all stores (`src/server/lock_manager/deadlock.rs`).

import type { WaitForEntryInit } from "./mvcc_error.ts";

/** One transaction that waits for another on a key. */
export interface WaitEdge {
  readonly txn: bigint;
  readonly waitFor: bigint;
  readonly key: Uint8Array;
  readonly keyHash: bigint;
  readonly resourceGroupTag: Uint8Array;
}

/** A circle that one more edge would close. */
export interface DeadlockFound {
  /** Of the key for which the last in the chain waits; clients know by it whether it is one of theirs. */
  readonly keyHash: bigint;
  readonly waitChain: readonly WaitForEntryInit[];
}

/** The keys on which one transaction waits for another. */
interface Edge {
  readonly keys: { readonly hash: bigint; readonly key: Uint8Array }[];
  resourceGroupTag: Uint8Array;
  seenAt: number;
}

/** The wait-for graph. Edges that nobody renews expire. */
export class DetectTable {
  readonly #ttlMs: number;
  readonly #waits = new Map<bigint, Map<bigint, Edge>>();

  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  /** Adds the edge, unless it would close a circle: then it returns that. */
  detect(edge: WaitEdge, now: number): DeadlockFound | undefined {
    const known = this.#waits.get(edge.txn)?.get(edge.waitFor);
    if (known !== undefined) {
      if (!known.keys.some(({ hash }) => hash === edge.keyHash)) {
        known.keys.push({ hash: edge.keyHash, key: edge.key });
      }
      known.seenAt = now;
      known.resourceGroupTag = edge.resourceGroupTag;
      return undefined;
    }
    const found = this.#circle(edge, now);
    if (found !== undefined) return found;
    let waits = this.#waits.get(edge.txn);
    if (waits === undefined) {
      waits = new Map();
      this.#waits.set(edge.txn, waits);
    }
    waits.set(edge.waitFor, {
      keys: [{ hash: edge.keyHash, key: edge.key }],
      resourceGroupTag: edge.resourceGroupTag,
      seenAt: now,
    });
    return undefined;
  }

  /** Takes one key of an edge away. */
  remove(txn: bigint, waitFor: bigint, keyHash: bigint): void {
    const waits = this.#waits.get(txn);
    const edge = waits?.get(waitFor);
    if (waits === undefined || edge === undefined) return;
    const index = edge.keys.findIndex(({ hash }) => hash === keyHash);
    if (index >= 0) edge.keys.splice(index, 1);
    if (edge.keys.length > 0) return;
    waits.delete(waitFor);
    if (waits.size === 0) this.#waits.delete(txn);
  }

  clear(): void {
    this.#waits.clear();
  }

  /** Walks from the transaction that would be waited for, until it comes back or to an end. */
  #circle(edge: WaitEdge, now: number): DeadlockFound | undefined {
    const stack = [edge.waitFor];
    const waiterOf = new Map<bigint, bigint | undefined>([[edge.waitFor, undefined]]);
    for (let current = stack.pop(); current !== undefined; current = stack.pop()) {
      for (const [next, nextEdge] of this.#liveEdges(current, now)) {
        if (next === edge.txn) {
          const last = entryOf(current, next, nextEdge);
          return {
            keyHash: last.keyHash ?? 0n,
            waitChain: [...this.#chain(current, waiterOf), last, shown(edge)],
          };
        }
        if (waiterOf.has(next)) continue;
        stack.push(next);
        waiterOf.set(next, current);
      }
    }
    return undefined;
  }

  #liveEdges(txn: bigint, now: number): [bigint, Edge][] {
    const waits = this.#waits.get(txn);
    if (waits === undefined) return [];
    for (const [waitFor, { seenAt }] of waits) if (now - seenAt >= this.#ttlMs) waits.delete(waitFor);
    if (waits.size === 0) this.#waits.delete(txn);
    return [...waits];
  }

  /** The edges from the start of the walk to `end`. */
  #chain(end: bigint, waiterOf: ReadonlyMap<bigint, bigint | undefined>): WaitForEntryInit[] {
    const chain: WaitForEntryInit[] = [];
    let current = end;
    for (let waiter = waiterOf.get(current); waiter !== undefined; waiter = waiterOf.get(current)) {
      const edge = this.#waits.get(waiter)?.get(current);
      if (edge !== undefined) chain.push(entryOf(waiter, current, edge));
      current = waiter;
    }
    return chain.reverse();
  }
}

/** An edge as the protocol shows it. */
export function shown({ txn, waitFor, key, keyHash, resourceGroupTag }: WaitEdge): WaitForEntryInit {
  return { txn, waitForTxn: waitFor, key, keyHash, resourceGroupTag };
}

function entryOf(txn: bigint, waitForTxn: bigint, { keys, resourceGroupTag }: Edge): WaitForEntryInit {
  const first = keys[0];
  return {
    txn,
    waitForTxn,
    keyHash: first?.hash ?? 0n,
    key: first?.key ?? new Uint8Array(0),
    resourceGroupTag,
  };
}
