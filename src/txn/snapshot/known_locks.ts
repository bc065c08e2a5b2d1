// SPDX-License-Identifier: Apache-2.0

import type { ContextFields } from "../../rpc/context.ts";

/**
 * What is known of transactions whose locks were in the way of reads: which of them a store may look
 * past, and which it may look through at what they write. True at one timestamp only.
 */
export class KnownLocks {
  readonly #fields: ContextFields | undefined;
  // Most reads never meet a lock.
  #ignored: Set<bigint> | undefined;
  #readThrough: Set<bigint> | undefined;
  #context: ContextFields | undefined;

  /** The fields that requests have besides. */
  constructor(fields: ContextFields | undefined) {
    this.#fields = fields;
    this.#context = fields;
  }

  /** What requests say of themselves and of locks; undefined when that is nothing. */
  get context(): ContextFields | undefined {
    return this.#context;
  }

  /** Looks past the locks of transactions from now on. */
  ignore(startTs: Iterable<bigint>): void {
    addTo(this.#ignored ??= new Set(), startTs);
    this.#update();
  }

  /** Looks through the locks of transactions from now on. */
  readThrough(startTs: Iterable<bigint>): void {
    addTo(this.#readThrough ??= new Set(), startTs);
    this.#update();
  }

  #update(): void {
    this.#context = {
      ...this.#fields,
      resolvedLocks: [...this.#ignored ?? []],
      committedLocks: [...this.#readThrough ?? []],
    };
  }
}

function addTo(known: Set<bigint>, startTs: Iterable<bigint>): void {
  for (const one of startTs) known.add(one);
  // What is forgotten is found out again from what the resolver remembers.
  for (const oldest of known) {
    if (known.size <= MAX_KNOWN) break;
    known.delete(oldest);
  }
}

/** Each request carries all of them: about 9 KiB. client-go has no limit. */
const MAX_KNOWN = 1_024;
