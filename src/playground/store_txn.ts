// SPDX-License-Identifier: Apache-2.0

import type { StoreCommand } from "./store_command.ts";
import { TXN_LOCKS } from "./store_txn_lock.ts";
import { TXN_RANGES } from "./store_txn_range.ts";
import { TXN_READS } from "./store_txn_read.ts";
import { TXN_WRITES } from "./store_txn_write.ts";

/** Every transactional command. */
export const TXN_COMMANDS: readonly StoreCommand[] = [
  ...TXN_READS,
  ...TXN_WRITES,
  ...TXN_LOCKS,
  ...TXN_RANGES,
];
