// SPDX-License-Identifier: Apache-2.0
// What the demo shows: a progress bar on a terminal, and a short table at the end.

import process from "node:process";

const BAR_WIDTH = 30;
const REDRAW_MS = 50;

/** A progress bar on a terminal; silent elsewhere. */
export class Progress {
  readonly #label: string;
  readonly #total: number;
  #done = 0;
  #drawnAt = 0;

  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
  }

  add(count: number): void {
    this.#done += count;
    const now = performance.now();
    if (process.stderr.isTTY !== true || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    const share = this.#done / this.#total;
    const bar = "█".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, "░");
    process.stderr.write(`\r${this.#label} ${bar} ${Math.floor(share * 100)} %`);
  }

  /** Takes the bar away. */
  end(): void {
    if (process.stderr.isTTY === true) process.stderr.write("\r\x1b[2K");
  }
}

interface Phase {
  readonly name: string;
  readonly operations: number;
  readonly ms: number;
}

/** Collects what happened and prints it. */
export class Report {
  readonly #phases: Phase[] = [];
  readonly #facts: [string, number][] = [];

  phase(name: string, operations: number, ms: number): void {
    this.#phases.push({ name, operations, ms });
  }

  fact(name: string, value: number): void {
    this.#facts.push([name, value]);
  }

  print(path: string, retries: ReadonlyMap<string, number>): void {
    const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
    console.log(
      `\nLoaded ${path} into 3 embedded stores; everything read back is equal. No money was lost.\n`,
    );
    const width = Math.max(...this.#phases.map(({ name }) => name.length));
    console.log(`${"".padEnd(width)}  ${"rows".padStart(9)}  ${"ms".padStart(8)}  ${"rows/s".padStart(10)}`);
    for (const { name, operations, ms } of this.#phases) {
      const rate = number.format(operations / Math.max(ms, 1e-3) * 1_000);
      console.log(
        `${name.padEnd(width)}  ${number.format(operations).padStart(9)}  ${number.format(ms).padStart(8)}  ${
          rate.padStart(10)
        }`,
      );
    }
    console.log();
    for (const [name, value] of this.#facts) console.log(`${name}: ${number.format(value)}`);
    const kinds = [...retries].sort((a, b) => b[1] - a[1]).map(([kind, times]) => `${kind} ${times}`);
    console.log(`retries: ${kinds.length === 0 ? "none" : kinds.join(", ")}`);
  }
}
