// SPDX-License-Identifier: Apache-2.0

import type { Region } from "./region.ts";

/** Regions in the order of their last use, linked through the regions themselves, and their size. */
export class RegionList {
  #newest: Region | undefined;
  #oldest: Region | undefined;
  #sizeBytes = 0;

  get newest(): Region | undefined {
    return this.#newest;
  }

  get oldest(): Region | undefined {
    return this.#oldest;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  add(region: Region): void {
    this.#sizeBytes += region.sizeBytes;
    this.#link(region);
  }

  remove(region: Region): void {
    this.#sizeBytes -= region.sizeBytes;
    this.#unlink(region);
  }

  /** Makes a region that is in the list the newest. */
  touch(region: Region): void {
    if (region === this.#newest) return;
    this.#unlink(region);
    this.#link(region);
  }

  clear(): void {
    // Unlinked one by one: a region that is still in use must not keep all others alive.
    while (this.#oldest !== undefined) this.remove(this.#oldest);
  }

  #link(region: Region): void {
    const newest = this.#newest;
    region.older = newest;
    if (newest === undefined) this.#oldest = region;
    else newest.newer = region;
    this.#newest = region;
  }

  #unlink(region: Region): void {
    const { newer, older } = region;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    region.newer = undefined;
    region.older = undefined;
  }
}
