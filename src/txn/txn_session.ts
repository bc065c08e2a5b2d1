// SPDX-License-Identifier: Apache-2.0

import type { Background } from "../async/background.ts";
import type { Operation } from "../async/operation.ts";
import type { Session } from "../plan/session.ts";
import type { Timestamp } from "../types.ts";
import type { Latches } from "./commit/latches.ts";
import type { CommitLimits } from "./commit/commit_limits.ts";

/** Where timestamps come from; PD is one. */
export interface Oracle {
  /** A timestamp above all that were handed out before the call, as a step of an operation. */
  timestamp(operation: Operation): Promise<Timestamp>;
  /** The largest that it gave out, if any; it may be old. */
  readonly latest?: Timestamp | undefined;
}

/** Makes room for writes; PD is one. */
export interface RegionSplitter {
  /** Splits regions so that one begins at each of the keys, and waits until they are on different stores. */
  split(keys: readonly Uint8Array[], operation: Operation): Promise<void>;
}

/** What transactions and snapshots of a client are built on; its keys are those of transactions. */
export interface TxnSession extends Session {
  readonly oracle: Oracle;
  /** Work that goes on after the call that started it, such as the commit of secondaries. */
  readonly background: Background;
  /** Splits regions before a huge transaction is written to them. */
  readonly splitter?: RegionSplitter | undefined;
  /** Finds conflicts between commits of this client. */
  readonly latches?: Latches | undefined;
  /** Sizes that differ from `COMMIT_LIMITS`, for tests. */
  readonly limits?: Partial<CommitLimits> | undefined;
}
