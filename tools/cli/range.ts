// SPDX-License-Identifier: Apache-2.0

import type { RangeInput } from "../../mod.ts";
import { type CommandLine, textOf, UsageError } from "./options.ts";
import { parseBytes } from "./output.ts";

/** The range of `--prefix`, or of `--start` and `--end`; undefined when none of them was given. */
export function rangeOf(line: CommandLine): RangeInput | undefined {
  const prefix = textOf(line, "prefix");
  const start = textOf(line, "start");
  const end = textOf(line, "end");
  if (prefix !== undefined) {
    if (start !== undefined || end !== undefined) {
      throw new UsageError("--prefix does not go with --start and --end");
    }
    return { prefix: parseBytes(prefix, line.keys) };
  }
  if (start === undefined && end === undefined) return undefined;
  return {
    ...(start === undefined ? {} : { start: parseBytes(start, line.keys) }),
    ...(end === undefined ? {} : { end: parseBytes(end, line.keys) }),
  };
}
