// SPDX-License-Identifier: Apache-2.0

import type { Background } from "../async/background.ts";
import type { Operation } from "../async/operation.ts";
import type { Session } from "../plan/session.ts";
import type { Timestamp } from "../types.ts";

/** Where timestamps come from; PD is one. */
export interface Oracle {
  /** A timestamp above all that were handed out before the call, as a step of an operation. */
  timestamp(operation: Operation): Promise<Timestamp>;
}

/** What transactions and snapshots of a client are built on; its keys are those of transactions. */
export interface TxnSession extends Session {
  readonly oracle: Oracle;
  /** Work that goes on after the call that started it, such as the commit of secondaries. */
  readonly background: Background;
}
