// SPDX-License-Identifier: Apache-2.0
// Regions in a list and a sender that answers from functions, for the tests of this layer and the
// next: what is routed where can be seen without a cluster.

import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { contains, containsByEnd, intersect, type KeyRange } from "../../../src/bytes/key_range.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import type { RequestSender, Routing } from "../../../src/plan/dispatch.ts";
import type { RegionSource } from "../../../src/plan/shard.ts";
import { Region } from "../../../src/region/region.ts";
import { type RegionRequest, STALE } from "../../../src/region/send.ts";
import type { Command } from "../../../src/rpc/commands.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";

/** One request as it was sent. */
export interface SentRequest {
  readonly region: Region;
  readonly method: string;
  readonly body: unknown;
  readonly operation: Operation;
}

/** Answers a request; `STALE` for a region that has changed. */
export type Answer = (request: SentRequest) => unknown;

/** Regions cut at keys, and a sender. */
export class FakeRegions implements RegionSource, RequestSender {
  readonly sent: SentRequest[] = [];
  #regions: Region[] = [];
  #nextId = 1n;
  #answer: Answer;
  /** The most regions of one look-up. */
  window = Infinity;
  /** Requests that are under way. */
  inFlight = 0;
  maxInFlight = 0;

  constructor(borders: readonly string[], answer: Answer) {
    this.#answer = answer;
    this.cutAt(borders);
  }

  /** Replaces all regions. */
  cutAt(borders: readonly string[]): void {
    const starts = ["", ...borders];
    this.#regions = starts.map((start, index) => this.#region(start, starts[index + 1] ?? ""));
  }

  get routing(): Routing {
    return { regions: this, sender: this, concurrency: 4 };
  }

  /** Ranges of the regions that requests went to, such as `"b-d"`. */
  get targets(): string[] {
    return this.sent.map(({ region }) => `${utf8Decode(region.start)}-${utf8Decode(region.end)}`);
  }

  peek(): undefined {
    return undefined;
  }

  locate(key: Uint8Array): Promise<Region> {
    return Promise.resolve(this.#find((region) => contains(region, key)));
  }

  locateByEnd(key: Uint8Array): Promise<Region> {
    return Promise.resolve(this.#find((region) => containsByEnd(region, key)));
  }

  locateRange(
    range: KeyRange,
    _operation: Operation,
    { limit }: { readonly limit: number },
  ): Promise<Region[]> {
    const found = this.#regions.filter((region) => intersect(region, range) !== undefined);
    return Promise.resolve(found.slice(0, Math.min(limit, this.window)));
  }

  groupKeys(keys: readonly Uint8Array[]): Promise<{ region: Region; indexes: number[] }[]> {
    const groups = this.#regions.map((region) => ({
      region,
      indexes: keys.flatMap((key, index) => contains(region, key) ? [index] : []),
    }));
    return Promise.resolve(groups.filter(({ indexes }) => indexes.length > 0));
  }

  request<I, O>(command: Command<I, O>, body: I): RegionRequest<I, O> {
    return { command, body } as RegionRequest<I, O>;
  }

  async send<I, O>(
    region: Region,
    request: RegionRequest<I, O>,
    operation: Operation,
  ): Promise<O | typeof STALE> {
    const sent = { region, method: request.command.name, body: request.body, operation };
    this.sent.push(sent);
    operation.attempts++;
    this.inFlight++;
    this.maxInFlight = Math.max(this.maxInFlight, this.inFlight);
    try {
      return await this.#answer(sent) as O | typeof STALE;
    } finally {
      this.inFlight--;
    }
  }

  #find(matches: (region: Region) => boolean): Region {
    const region = this.#regions.find(matches);
    if (region === undefined) throw new Error("the regions have a gap");
    return region;
  }

  #region(start: string, end: string): Region {
    const id = this.#nextId++;
    return new Region({
      meta: {
        id,
        confVer: 1n,
        version: 1n,
        start: utf8Encode(start),
        end: utf8Encode(end),
        peers: [],
        downPeers: [],
        pendingPeers: [],
      },
      peers: [],
      leaderIndex: 0,
    });
  }
}

/** An operation on a clock that stands still. */
export function operationOn(
  clock: ManualClock = new ManualClock(),
  options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
): Operation {
  return new Operation("test", {
    deadline: Deadline.after(clock, options.timeoutMs ?? 10_000, options.signal),
    environment: { clock, random: new SeededRandom(1) },
  });
}

/** Settles when the operation is ended from outside, as a request on the wire does. */
export function untilAborted(operation: Operation): Promise<never> {
  return new Promise((_, reject) => {
    operation.deadline.onOver("wait", reject);
  });
}
