// SPDX-License-Identifier: Apache-2.0

/** How replies become one result: where it starts, and what one more reply makes of it. */
export interface Merge<A, O> {
  readonly initial: () => A;
  readonly step: (result: A, reply: O) => A;
}

/** All replies in a list, in no particular order. */
export function collect<O>(): Merge<O[], O> {
  return {
    initial: () => [],
    step: (replies, reply) => {
      replies.push(reply);
      return replies;
    },
  };
}

/** The sum of one number of each reply. */
export function sum<O>(pick: (reply: O) => bigint): Merge<bigint, O> {
  return { initial: () => 0n, step: (total, reply) => total + pick(reply) };
}
