// SPDX-License-Identifier: Apache-2.0
// Snapshots and a resolver on stores whose every answer is written by the test.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Action, type KeyError, KeyErrorSchema, LockInfoSchema } from "../../gen/kvrpcpb_pb.ts";
import { Background } from "../../src/async/background.ts";
import { Deadline } from "../../src/async/deadline.ts";
import { Operation } from "../../src/async/operation.ts";
import { TikvError } from "../../src/errors.ts";
import type { ClientEvent } from "../../src/observe/events.ts";
import type { Region } from "../../src/region/region.ts";
import type { RegionRequest, STALE } from "../../src/region/send.ts";
import type { ClientOptions } from "../../src/client_options.ts";
import { resolveSettings } from "../../src/settings.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../src/testing/seeded_random.ts";
import { LockClock } from "../../src/txn/locks/lock_clock.ts";
import { LockResolver } from "../../src/txn/locks/lock_resolver.ts";
import { SafePoint } from "../../src/txn/snapshot/safe_point.ts";
import { openSnapshot, type Snapshot } from "../../src/txn/snapshot/snapshot.ts";
import { StaleTime } from "../../src/txn/snapshot/stale_time.ts";
import type { SnapshotOptions } from "../../src/txn/snapshot/snapshot_options.ts";
import type { SnapshotParts } from "../../src/txn/snapshot/snapshot_reads.ts";
import type { TxnSession } from "../../src/txn/txn_session.ts";
import { type Timestamp, timestampOf } from "../../src/types.ts";
import { FakeRegions, type SentRequest } from "../unit/plan/fake_regions.ts";
import { bytes } from "../unit/raw/fake_store.ts";

/** Keeps the options of requests, which say what goes into their context. */
export class Regions extends FakeRegions {
  /** Of each that was sent. */
  readonly optionsOf: RegionRequest<unknown, unknown>["options"][] = [];

  /** The options of the requests of one kind. */
  optionsOfAll(method: string): RegionRequest<unknown, unknown>["options"][] {
    return this.optionsOf.filter((_, index) => this.sent[index]?.method === method);
  }

  override send<I, O>(
    region: Region,
    request: RegionRequest<I, O>,
    operation: Operation,
  ): Promise<O | typeof STALE> {
    this.optionsOf.push(request.options);
    return super.send(region, request, operation);
  }

  override request<I, O>(...args: Parameters<FakeRegions["request"]>): RegionRequest<I, O> {
    const [command, body, options = {}] = args as unknown as [
      RegionRequest<I, O>["command"],
      I,
      RegionRequest<I, O>["options"]?,
    ];
    return { command, body, options } as RegionRequest<I, O>;
  }
}

/** What a test has of it. */
export interface Scene {
  readonly clock: ManualClock;
  readonly regions: Regions;
  readonly events: ClientEvent[];
  readonly timestamps: { asked: number; fails: boolean };
  readonly safePoint: { ts: bigint; asked: number; fails: boolean; isCollecting: boolean };
  readonly locks: LockResolver;
  /** What transactions are made with. */
  readonly parts: SnapshotParts & { readonly session: TxnSession };
  operation(timeoutMs?: number): Operation;
  snapshot(options?: SnapshotOptions): Promise<Snapshot>;
}

export const START_MS = 1_000_000n;
export const READ_TS = timestampOf(START_MS, 500n);
export const LOCK_TS = timestampOf(START_MS, 1n);

export function scene(
  answer: (sent: SentRequest, round: number) => unknown,
  client: ClientOptions = {},
): Scene {
  const clock = new ManualClock(Number(START_MS));
  const events: ClientEvent[] = [];
  let round = 0;
  const regions = new Regions([], (sent) => answer(sent, ++round));
  const settings = resolveSettings({
    ...client,
    environment: { clock, random: new SeededRandom(1) },
    observe: (event) => events.push(event),
  });
  const background = new Background((_, cause) =>
    events.push({ type: "warning", message: "background", cause })
  );
  const timestamps = { asked: 0, fails: false };
  const lockClock = new LockClock({
    timestamp: () => {
      timestamps.asked++;
      if (timestamps.fails) return Promise.reject(new TikvError("connection", "PD is away"));
      return Promise.resolve(timestampOf(BigInt(Math.floor(clock.now())), 1_000n));
    },
  }, settings.observe);
  const locks = new LockResolver({ routing: regions.routing, settings, clock: lockClock, background });
  const point = { ts: 0n, asked: 0, fails: false, isCollecting: false };
  const safePoint = new SafePoint({
    load: () => {
      point.asked++;
      if (point.fails) return Promise.reject(new TikvError("connection", "PD is away"));
      return Promise.resolve({ ts: point.ts as Timestamp, isCollecting: point.isCollecting });
    },
    background,
    environment: settings.environment,
    observe: settings.observe,
  });
  const staleTime = new StaleTime({
    clock: lockClock,
    safeTs: { minimum: () => Promise.resolve(0n) },
    background,
    environment: settings.environment,
    observe: settings.observe,
  });
  const session = { routing: regions.routing, settings, closing: new AbortController().signal };
  const parts = {
    session: { ...session, oracle: lockClock, background },
    locks,
    safePoint,
    clock: lockClock,
    staleTime,
  };
  return {
    clock,
    regions,
    events,
    timestamps,
    safePoint: point,
    locks,
    parts,
    operation(timeoutMs = 20_000): Operation {
      const { environment, observe: observer } = settings;
      return new Operation("test", { deadline: Deadline.after(clock, timeoutMs), environment, observer });
    },
    snapshot: (options = {}) =>
      openSnapshot(parts, {
        ...momentOf(options),
        ...options,
      }, {
        defaults: {},
        timestamp: () => Promise.reject(new Error("not asked")),
      }),
  };
}

function momentOf({ staleMs, maxStaleMs }: SnapshotOptions): SnapshotOptions {
  return staleMs === undefined && maxStaleMs === undefined ? { ts: READ_TS } : {};
}

export function locked(key: string, init: MessageInitShape<typeof LockInfoSchema> = {}): KeyError {
  const lock = {
    key: bytes(key),
    primaryLock: bytes("p"),
    lockVersion: LOCK_TS,
    lockTtl: 3_000n,
    txnSize: 1n,
  };
  return create(KeyErrorSchema, { locked: { ...lock, ...init } });
}

export const NOTHING = { regionError: undefined, error: undefined, execDetailsV2Bytes: undefined };
export const FOUND = { ...NOTHING, value: bytes("v"), notFound: false, commitTs: 0n };
export const COMMITTED = { ...NOTHING, lockTtl: 0n, commitVersion: LOCK_TS + 1n, action: Action.NoAction };

export function pair(key: string, error?: KeyError): unknown {
  return error === undefined
    ? { key: bytes(key), value: bytes(`${key}!`), commitTs: 0n, error: undefined }
    : { key: bytes(""), value: bytes(""), commitTs: 0n, error };
}
