// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../../errors.ts";
import { EntryStates } from "./entry_states.ts";

/** A place to which a buffer can go back. Good for the buffer that made it, until that is past it. */
export interface BufferCheckpoint {
  /** Where in the log it is. */
  readonly position: number;
}

/** Puts an entry back to what `states` have under `record`; tells whether it is that now, flags included. */
export type UndoOne = (entry: number, states: EntryStates, record: number) => boolean;

/**
 * What has to be undone to get back to a stage or to a checkpoint.
 *
 * Nothing is kept while there is neither. Otherwise one record is kept per entry and mark, however
 * often the entry is written. Every overwrite is noted, whatever its length: a checkpoint must be
 * safe also where no stage is open.
 */
export class UndoLog {
  readonly #states: EntryStates;
  readonly #undoOne: UndoOne;
  // One record is what an entry was before it was changed, and which record of it is the older one.
  #records: EntryStates = new EntryStates();
  #entries: number[] = [];
  #older: number[] = [];
  // Position of the newest record by entry; absent or below the oldest mark if there is none.
  #newest: number[] = [];
  // Positions never go back below this, so that records that were dropped are before every mark.
  #base = 0;
  #marks: Mark[] = [];
  #depth = 0;

  /** Makes an empty log over entries whose present is in `states` and that `undoOne` changes back. */
  constructor(states: EntryStates, undoOne: UndoOne) {
    this.#states = states;
    this.#undoOne = undoOne;
  }

  /** How many stages are open. */
  get depth(): number {
    return this.#depth;
  }

  /** Whether there is a stage or a checkpoint. */
  get hasMarks(): boolean {
    return this.#marks.length > 0;
  }

  /** Bytes of the records, about. */
  get capacityBytes(): number {
    return this.#records.capacityBytes +
      (this.#entries.length + this.#older.length + this.#newest.length) * 8;
  }

  /** Has to be called before an entry is changed or made. */
  note(entry: number): void {
    const mark = this.#marks.at(-1);
    if (mark === undefined) return;
    const newest = this.#newest[entry] ?? -1;
    if (newest >= mark.position) return;
    const record = this.#entries.length;
    this.#records.reserve(record);
    this.#records.copy(record, this.#states, entry);
    this.#entries.push(entry);
    this.#older.push(newest);
    while (this.#newest.length < entry) this.#newest.push(-1);
    this.#newest[entry] = this.#base + record;
  }

  /** Opens a stage inside the open ones, and gives its handle: how many are open then. */
  stage(): number {
    this.#depth++;
    this.#marks.push({ position: this.#end(), stage: this.#depth });
    return this.#depth;
  }

  /** Ends the newest stage and keeps its changes; tells whether there were any. */
  release(handle: number): boolean {
    if (handle !== this.#depth || handle === 0) throw wrongStage("release", handle, this.#depth);
    const at = this.#marks.findLastIndex((mark) => mark.stage === handle);
    const [mark] = this.#marks.splice(at, 1);
    this.#depth--;
    const hasChanges = mark !== undefined && this.#end() > mark.position;
    if (this.#marks.length === 0) this.#drop();
    return hasChanges;
  }

  /** Ends the newest stage and undoes its changes. A stage that is not open any more is ignored. */
  cleanup(handle: number): void {
    if (handle === 0 || handle > this.#depth) return;
    if (handle !== this.#depth) throw wrongStage("clean up", handle, this.#depth);
    const at = this.#marks.findLastIndex((mark) => mark.stage === handle);
    const position = this.#marks[at]?.position ?? this.#end();
    this.#marks = this.#marks.slice(0, at);
    this.#depth--;
    this.#undoTo(position);
    if (this.#marks.length === 0) this.#drop();
  }

  /** Marks this place. */
  checkpoint(): BufferCheckpoint {
    const top = this.#marks.at(-1);
    // The same place needs no second mark, so that the marks are bounded by the writes.
    if (top !== undefined && top.stage === undefined && top.position === this.#end()) return top;
    const mark: Mark = { position: this.#end(), stage: undefined };
    this.#marks.push(mark);
    return mark;
  }

  /** Undoes what was changed after the checkpoint, which stays; later ones do not. */
  revert(checkpoint: BufferCheckpoint): void {
    const at = this.#marks.findIndex((mark) => mark === checkpoint);
    if (at < 0) {
      throw new TikvError(
        "misuse",
        "Cannot go back to the savepoint: it is of another transaction, or this one has gone back beyond it",
      );
    }
    if (this.#marks.slice(at).some((mark) => mark.stage !== undefined)) {
      throw new TikvError(
        "misuse",
        "Cannot go back to the savepoint: a statement began after it, expected that to be over",
      );
    }
    this.#marks = this.#marks.slice(0, at + 1);
    this.#undoTo(checkpoint.position);
  }

  /** Where a stage began; `undefined` if it is not open. */
  startOf(handle: number): number | undefined {
    return this.#marks.find((mark) => mark.stage === handle)?.position;
  }

  /** The entries that were changed since a position, the newest first change first, each once. */
  *changedSince(position: number): Generator<number, void, undefined> {
    for (let record = this.#entries.length - 1; record >= position - this.#base; record--) {
      const entry = this.#entries[record] as number;
      // What an entry was at the position is in its oldest record since; the newer ones are skipped.
      if ((this.#older[record] as number) < position) yield entry;
    }
  }

  /**
   * What an entry was, from now back: each with the number under which `states` have it. Stops before
   * what it was at the oldest mark became what it is.
   */
  *history(entry: number): Generator<{ readonly states: EntryStates; readonly number: number }> {
    yield { states: this.#states, number: entry };
    const oldest = this.#marks[0]?.position ?? Infinity;
    for (let at = this.#newest[entry] ?? -1; at >= oldest; at = this.#older[at - this.#base] as number) {
      yield { states: this.#records, number: at - this.#base };
    }
  }

  /** What an entry was at a position: the states that have it, and the number under which they do. */
  asOf(entry: number, position: number): { readonly states: EntryStates; readonly number: number } {
    let states = this.#states;
    let number = entry;
    for (let at = this.#newest[entry] ?? -1; at >= position;) {
      states = this.#records;
      number = at - this.#base;
      at = this.#older[number] as number;
    }
    return { states, number };
  }

  /**
   * Gives every entry another number. The same log goes on: marks stay where they are.
   *
   * @param numbers the new number by the old one
   * @param move gives a value that a record has a new address
   */
  renumber(numbers: Int32Array, move: (states: EntryStates, number: number) => void): void {
    const newest: number[] = [];
    for (let record = 0; record < this.#entries.length; record++) {
      const entry = numbers[this.#entries[record] as number] as number;
      this.#entries[record] = entry;
      while (newest.length < entry) newest.push(-1);
      newest[entry] = this.#base + record;
      move(this.#records, record);
    }
    this.#newest = newest;
  }

  /** The entries that records are about; some more than once. */
  recorded(): readonly number[] {
    return this.#entries;
  }

  #undoTo(position: number): void {
    const start = Math.max(0, position - this.#base);
    const kept: number[] = [];
    for (let record = this.#entries.length - 1; record >= start; record--) {
      const entry = this.#entries[record] as number;
      const older = this.#older[record] as number;
      this.#newest[entry] = older;
      // The older record tells what the entry was at the position, whatever it was in between.
      if (older >= position) continue;
      if (!this.#undoOne(entry, this.#records, record)) kept.push(record);
    }
    // What is not as it was is noted still: to the marks that are left it is a change.
    let end = start;
    for (const record of kept.reverse()) {
      const entry = this.#entries[record] as number;
      this.#records.copy(end, this.#records, record);
      this.#entries[end] = entry;
      this.#older[end] = this.#older[record] as number;
      this.#newest[entry] = this.#base + end;
      end++;
    }
    this.#entries.length = Math.min(this.#entries.length, end);
    this.#older.length = this.#entries.length;
  }

  /** Forgets all records; there is nothing to go back to. */
  #drop(): void {
    this.#base = this.#end();
    this.#records = new EntryStates();
    this.#entries = [];
    this.#older = [];
    this.#newest = [];
  }

  #end(): number {
    return this.#base + this.#entries.length;
  }
}

interface Mark extends BufferCheckpoint {
  /** Handle of the stage that begins here; absent for a checkpoint. */
  readonly stage: number | undefined;
}

function wrongStage(verb: string, handle: number, depth: number): TikvError<"misuse"> {
  const wanted = depth === 0 ? "no stage is open" : `expected the newest stage, ${depth}`;
  return new TikvError("misuse", `Cannot ${verb} stage ${handle}: ${wanted}`);
}
