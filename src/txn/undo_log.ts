// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";

/** What the log needs of an entry of the buffer. */
export interface Undoable<V> {
  /** The value as it is. */
  value: V;
  /** Position of the newest record of the entry; -1 if there is none. Only the log writes it. */
  notedAt: number;
}

/** How one entry was before it was changed. */
export interface UndoRecord<E, V> {
  /** The entry that was changed. */
  readonly entry: E;
  /** Whether the change made the entry. */
  readonly isNew: boolean;
  /** Its value before. */
  readonly value: V;
  /** Its `notedAt` before. */
  readonly notedAt: number;
}

/** A place to which a buffer can go back. Good for the buffer that made it, until that is past it. */
export interface BufferCheckpoint {
  /** Where in the log it is. */
  readonly position: number;
}

/** Takes one change back; tells whether an entry that the change had made has to stay nevertheless. */
export type UndoOne<E, V> = (record: UndoRecord<E, V>) => boolean;

/**
 * What has to be undone to get back to a stage or to a checkpoint.
 *
 * Nothing is kept while there is neither. Otherwise one record is kept per entry and mark, however
 * often the entry is written. Every overwrite is noted, whatever its length: a checkpoint must be
 * safe also where no stage is open.
 */
export class UndoLog<E extends Undoable<V>, V> {
  readonly #undoOne: UndoOne<E, V>;
  #records: UndoRecord<E, V>[] = [];
  // Positions never go back below this, so that `notedAt` of dropped records is before every mark.
  #base = 0;
  #marks: Mark[] = [];
  #depth = 0;

  /** Makes an empty log over entries that `undoOne` changes back. */
  constructor(undoOne: UndoOne<E, V>) {
    this.#undoOne = undoOne;
  }

  /** How many stages are open. */
  get depth(): number {
    return this.#depth;
  }

  /** Has to be called before the value of an entry is changed, and after an entry was made. */
  note(entry: E, isNew: boolean): void {
    const mark = this.#marks.at(-1);
    if (mark === undefined || entry.notedAt >= mark.position) return;
    const { value, notedAt } = entry;
    entry.notedAt = this.#end();
    this.#records.push({ entry, isNew, value, notedAt });
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
    if (this.#marks.length === 0) {
      this.#base = this.#end();
      this.#records = [];
    }
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
      throw new TikvError("misuse", "Cannot revert to the checkpoint: the buffer does not have it any more");
    }
    if (this.#marks.slice(at).some((mark) => mark.stage !== undefined)) {
      throw new TikvError(
        "misuse",
        "Cannot revert to the checkpoint: a stage was opened after it, end that first",
      );
    }
    this.#marks = this.#marks.slice(0, at + 1);
    this.#undoTo(checkpoint.position);
  }

  #undoTo(position: number): void {
    const kept: E[] = [];
    while (this.#end() > position) {
      const record = this.#records.pop();
      if (record === undefined) break;
      record.entry.notedAt = record.notedAt;
      if (this.#undoOne(record)) kept.push(record.entry);
    }
    // To the marks below they are as new as before.
    for (const entry of kept) this.note(entry, true);
  }

  #end(): number {
    return this.#base + this.#records.length;
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
