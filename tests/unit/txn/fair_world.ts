// SPDX-License-Identifier: Apache-2.0
// The pessimistic locks of a transaction by themselves, on a playground.

import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import type { TxnIdentity } from "../../../src/txn/commit/committer_run.ts";
import { Heartbeat } from "../../../src/txn/commit/heartbeat.ts";
import { MinCommitTs } from "../../../src/txn/commit/min_commit_ts.ts";
import type { HeldLock } from "../../../src/txn/pessimistic/held_locks.ts";
import { PessimisticLocks } from "../../../src/txn/pessimistic/pessimistic.ts";
import type { LockedKey, LockWishes } from "../../../src/txn/pessimistic/pessimistic_request.ts";
import { openWatched, text, type Watched } from "./lock_world.ts";
import type { World } from "./txn_world.ts";

export interface FairWorld {
  readonly client: Watched;
  readonly txn: TxnIdentity;
  readonly locks: PessimisticLocks;
  readonly heartbeat: Heartbeat;
  /** Keys that are held for good, in the order in which that was told. */
  readonly held: string[];
  /** Called for each of those. */
  onHeld: (key: string, lock: HeldLock) => void;
  operation(timeoutMs?: number): Operation;
  timestamp(): Promise<bigint>;
  /** Locks keys; those that begin with `!` must not exist. */
  lock(keys: readonly string[], wishes?: Partial<LockWishes>): Promise<LockedKey[]>;
  /** The primaries that were kept alive within some time. */
  beats(ms: number): Promise<(string | undefined)[]>;
}

export async function openLocks(world: World): Promise<FairWorld> {
  const { clock } = world;
  const client = await openWatched(world);
  const { session, locks: breaker } = client.parts.txn();
  const { environment } = session.settings;
  const operation = (timeoutMs = 10_000): Operation =>
    new Operation("test", { deadline: Deadline.after(clock, timeoutMs), environment });
  const txn: TxnIdentity = {
    session,
    locks: breaker,
    startTs: await clock.run(session.oracle.timestamp(operation())),
    beganAt: clock.now(),
    context: undefined,
    writeContext: undefined,
    minCommitTs: new MinCommitTs(),
    askFate: () => Promise.reject(new Error("not in this test")),
  };
  const heartbeat = new Heartbeat(txn);
  const held: string[] = [];
  const opened: FairWorld = {
    client,
    txn,
    heartbeat,
    held,
    onHeld: () => {},
    locks: new PessimisticLocks({
      txn,
      heartbeat,
      onHeld: (key, lock) => {
        held.push(text(key) as string);
        opened.onHeld(text(key) as string, lock);
      },
    }),
    operation,
    timestamp: () => clock.run(session.oracle.timestamp(operation())),
    lock: async (keys, wishes = {}) => {
      const targets = keys.map((key) => ({
        key: utf8Encode(key.replace("!", "")),
        shouldNotExist: key.startsWith("!"),
      }));
      return await clock.run(opened.locks.lock(targets, {
        waitMs: 0,
        returnsValues: false,
        checksExistence: true,
        locksOnlyIfExists: false,
        isShared: false,
        isFair: true,
        ...wishes,
      }, operation()));
    },
    beats: async (ms) => {
      const before = client.bodies("KvTxnHeartBeat").length;
      await clock.advance(ms);
      return client.bodies("KvTxnHeartBeat").slice(before).map(({ primaryLock }) => text(primaryLock));
    },
  };
  return opened;
}
