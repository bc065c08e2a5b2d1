// SPDX-License-Identifier: Apache-2.0

import { COMMANDS, type Commands } from "../rpc/commands.ts";
import type { RawScope } from "./scope.ts";

/** The commands that write, but for compare-and-swap. */
export type WriteCommands = Pick<
  Commands,
  "RawPut" | "RawBatchPut" | "RawDelete" | "RawBatchDelete" | "RawDeleteRange"
>;

/**
 * The commands with which a view writes.
 *
 * A plain write whose answer was lost is sent again: it ends in the same state. Next to
 * compare-and-swap it does not, because somebody may have swapped the value in between; there a lost
 * answer is undetermined.
 */
export function writeCommandsOf(scope: RawScope): WriteCommands {
  return scope.isAtomic ? ONCE : COMMANDS;
}

const ONCE: WriteCommands = {
  RawPut: { ...COMMANDS.RawPut, isIdempotent: false },
  RawBatchPut: { ...COMMANDS.RawBatchPut, isIdempotent: false },
  RawDelete: { ...COMMANDS.RawDelete, isIdempotent: false },
  RawBatchDelete: { ...COMMANDS.RawBatchDelete, isIdempotent: false },
  RawDeleteRange: { ...COMMANDS.RawDeleteRange, isIdempotent: false },
};
