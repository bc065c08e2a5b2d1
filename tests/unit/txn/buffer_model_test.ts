// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hex } from "../../../src/bytes/hex.ts";
import { ALL_KEYS } from "../../../src/bytes/key_range.ts";
import { TikvError } from "../../../src/errors.ts";
import { WriteBuffer } from "../../../src/txn/buffer/buffer.ts";
import {
  applyFlagChanges,
  type FlagChange,
  KEY_FLAG,
  PERSISTENT_FLAGS,
} from "../../../src/txn/buffer/key_flags.ts";
import type { BufferCheckpoint } from "../../../src/txn/buffer/undo_log.ts";

const LIMITS = { maxEntryBytes: 9, maxTotalBytes: 60, maxKeys: 12 };

interface Cell {
  readonly flags: number;
  /** Hex of a value; `null` is a tombstone, `undefined` flags only. */
  readonly value: string | null | undefined;
}
type Cells = ReadonlyMap<string, Cell>;

/** The same as the buffer, by copying everything at every mark. */
class Model {
  cells: Cells = new Map();
  marks: { readonly kind: "stage" | "checkpoint"; cells: Cells }[] = [];

  get depth(): number {
    return this.marks.filter(({ kind }) => kind === "stage").length;
  }

  get sizeBytes(): number {
    return sizeOf(this.cells);
  }

  /** Tells whether the write was taken. */
  write(key: string, value: Cell["value"], changes: readonly FlagChange[]): boolean {
    const old = this.cells.get(key);
    const isFlagsOnly = value === undefined;
    const flags = applyFlagChanges(
      old?.flags ?? 0,
      isFlagsOnly ? changes : ["no-constraint-check", ...changes],
    );
    const next = new Map(this.cells).set(key, { flags, value: isFlagsOnly ? old?.value : value });
    const grows = sizeOf(next) > this.sizeBytes;
    if (!(isFlagsOnly && old !== undefined)) {
      if ((key.length + (value?.length ?? 0)) / 2 > LIMITS.maxEntryBytes) return false;
      if (grows && sizeOf(next) > LIMITS.maxTotalBytes) return false;
      if (next.size > LIMITS.maxKeys && next.size > this.cells.size) return false;
    }
    // A key of which nothing is known is not there.
    if (next.get(key)?.value === undefined && flags === 0) next.delete(key);
    this.cells = next;
    return true;
  }

  restore(cells: Cells): void {
    const restored = new Map<string, Cell>();
    for (const key of new Set([...this.cells.keys(), ...cells.keys()])) {
      const now = this.cells.get(key)?.flags ?? 0;
      const then = cells.get(key);
      let flags = (now & PERSISTENT_FLAGS) | ((then?.flags ?? 0) & ~PERSISTENT_FLAGS);
      if (then?.value !== undefined && (now & KEY_FLAG.locked) === 0) {
        flags |= (then?.flags ?? 0) & KEY_FLAG.needConstraintCheckInPrewrite;
      }
      if (then?.value !== undefined || flags !== 0) restored.set(key, { flags, value: then?.value });
    }
    this.cells = restored;
  }
}

function sizeOf(cells: Cells): number {
  let sizeBytes = 0;
  for (const [key, { value }] of cells) sizeBytes += (key.length + (value?.length ?? 0)) / 2;
  return sizeBytes;
}

function valuesOf(cells: Cells): readonly (readonly [string, Cell["value"]])[] {
  return [...cells].map(([key, { value }]) => [key, value] as const)
    .filter(([, value]) => value !== undefined).toSorted(byKey);
}

function byKey(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}

type Step =
  | {
    readonly do: "put";
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly changes: FlagChange[];
  }
  | { readonly do: "delete"; readonly key: Uint8Array; readonly changes: FlagChange[] }
  | { readonly do: "flags"; readonly key: Uint8Array; readonly changes: FlagChange[] }
  | { readonly do: "stage" | "release" | "cleanup" | "checkpoint" }
  | { readonly do: "revert"; readonly which: number };

function steps(): fc.Arbitrary<Step[]> {
  const byte = fc.constantFrom(0, 1, 0x61, 0xff);
  const key = fc.array(byte, { maxLength: 2 }).map((bytes) => Uint8Array.from(bytes));
  const value = fc.uint8Array({ minLength: 1, maxLength: 8 });
  const change = fc.constantFrom<FlagChange[]>(
    "locked",
    "unlocked",
    "locked-in-share-mode",
    "locked-value-exists",
    "need-constraint-check",
    "presume-not-exists",
    "assert-exist",
    "readable",
  );
  const changes = fc.array(change, { maxLength: 2 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("put" as const), key, value, changes }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("delete" as const), key, changes }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("flags" as const), key, changes }) },
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constantFrom("stage" as const, "release", "cleanup", "checkpoint") }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("revert" as const), which: fc.nat(9) }) },
  );
  return fc.array(step, { maxLength: 80, size: "max" });
}

/** Runs the action and gives the kind of its error, if it fails. */
function failureOf(action: () => void): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (TikvError.is(error)) return error.kind;
    throw error;
  }
}

function runStep(buffer: WriteBuffer, model: Model, checkpoints: Checkpoint[], step: Step): void {
  switch (step.do) {
    case "put":
    case "delete":
    case "flags": {
      const { key, changes } = step;
      const value = step.do === "put" ? hex(step.value) : step.do === "delete" ? null : undefined;
      const failure = failureOf(() => {
        if (step.do === "put") buffer.put(key, step.value, changes);
        else if (step.do === "delete") buffer.delete(key, changes);
        else buffer.updateFlags(key, changes);
      });
      assert.equal(failure, model.write(hex(key), value, changes) ? undefined : "too-large");
      return;
    }
    case "stage":
      model.marks.push({ kind: "stage", cells: model.cells });
      assert.equal(buffer.stage(), model.depth);
      return;
    case "release": {
      const at = model.marks.findLastIndex(({ kind }) => kind === "stage");
      if (at >= 0) model.marks.splice(at, 1);
      assert.equal(failureOf(() => buffer.release(buffer.depth)), at >= 0 ? undefined : "misuse");
      return;
    }
    case "cleanup": {
      const at = model.marks.findLastIndex(({ kind }) => kind === "stage");
      const mark = model.marks[at];
      buffer.cleanup(buffer.depth);
      if (mark === undefined) return;
      model.marks = model.marks.slice(0, at);
      model.restore(mark.cells);
      return;
    }
    case "checkpoint": {
      const ofBuffer = buffer.checkpoint();
      const twin = checkpoints.find((other) => other.ofBuffer === ofBuffer);
      if (twin !== undefined) {
        // The buffer gives the same checkpoint again, which is right only if nothing was written since.
        assert.equal(model.marks.at(-1), twin.mark);
        assert.deepEqual(valuesOf(model.cells), valuesOf(twin.mark.cells));
        // Since then an undone stage may have left locks behind.
        twin.mark.cells = model.cells;
        return;
      }
      const mark = { kind: "checkpoint" as const, cells: model.cells };
      model.marks.push(mark);
      checkpoints.push({ ofBuffer, mark });
      return;
    }
    case "revert": {
      const chosen = checkpoints[step.which % Math.max(1, checkpoints.length)];
      if (chosen === undefined) return;
      const at = model.marks.indexOf(chosen.mark);
      const isAllowed = at >= 0 && model.marks.slice(at).every(({ kind }) => kind === "checkpoint");
      const failure = failureOf(() => buffer.revert(chosen.ofBuffer));
      assert.equal(failure, isAllowed ? undefined : "misuse");
      if (!isAllowed) return;
      model.marks = model.marks.slice(0, at + 1);
      model.restore(chosen.mark.cells);
    }
  }
}

interface Checkpoint {
  readonly ofBuffer: BufferCheckpoint;
  readonly mark: Model["marks"][number];
}

function assertSame(buffer: WriteBuffer, model: Model): void {
  // The order of hex digits is the order of the bytes.
  const expected = [...model.cells].toSorted(byKey);
  const seen = [...buffer.entries(ALL_KEYS, { lockOnly: true })].map(({ key, flags, write }) => {
    const value = write.kind === "value" ? hex(write.value) : write.kind === "tombstone" ? null : undefined;
    return [hex(key), { flags, value }] as const;
  });
  assert.deepEqual(seen, expected);
  assert.equal(buffer.keyCount, model.cells.size);
  assert.equal(buffer.sizeBytes, model.sizeBytes);
  assert.equal(buffer.depth, model.depth);
}

test("[TXN-050] [TXN-051] [TXN-052] [TXN-053] the buffer does what a model does that copies everything", () => {
  const happened = new Set<string>();
  fc.assert(
    fc.property(steps(), (list) => {
      const buffer = new WriteBuffer(LIMITS);
      const model = new Model();
      const checkpoints: Checkpoint[] = [];
      for (const step of list) {
        const before = model.cells;
        runStep(buffer, model, checkpoints, step);
        assertSame(buffer, model);
        if (model.cells !== before && model.cells.size < before.size) happened.add(`${step.do} forgot a key`);
        if (step.do === "put" && model.cells === before) happened.add("put refused");
      }
    }),
    { numRuns: 2000, seed: SEED },
  );
  // Otherwise the steps would not reach what this test is about.
  assert.deepEqual(
    happened,
    new Set(["put refused", "flags forgot a key", "cleanup forgot a key", "revert forgot a key"]),
  );
});

/** Fixed, so that a run can be repeated; fast-check prints it with the path to the failure. */
const SEED = 20261124;
