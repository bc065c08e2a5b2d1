// SPDX-License-Identifier: Apache-2.0
// What well-known servers lack, for TIKV_SERVER_PROFILE. Real TiKV needs no profile: it has it all.

import type { Capability } from "./backend.ts";

/** What each kind of server lacks, with the reason. */
export const SERVER_PROFILES: Readonly<Record<string, Readonly<Partial<Record<Capability, string>>>>> = {
  // A real placement driver, and a store for tests over an engine without Raft.
  unistore: {
    "no-ttl": "its raw engine keeps a TTL in every API version",
    "strict-api": "it asks neither for the API version nor for the prefix of keys nor for the column family",
    "size-limits": "it takes keys and values of any size",
    "cluster-checks": "its stores do not ask which cluster is meant; its PD does",
    "stored-keys": "it tells of keys as they were sent",
    "split-checks": "it drops split keys that are outside the region, and says so in a text only",
    "range-checks": "it does not ask whether a range that is deleted is in the region",
    "pair-errors": "it refuses a whole batch for one key that is not in the region",
    "new-pd": "its PD is of version 8.1",
    "reverse-snapshots": "its scans from the end show what is newest, whatever timestamp is asked for",
    "memory-locks":
      "while it commits in one phase, or prewrites an async commit, readers and conflicts pass unseen",
    "secondary-checks": "who finds a key of an async commit missing leaves no trace of it",
    "lock-records": "it finds no conflict with a key that was only locked",
    "shared-locks": "it takes a shared lock for an exclusive one",
    "commit-ts": "it does not tell when a value was committed",
    "peer-checks": "its replicas are one engine: it serves any of them, and refuses every other epoch",
  },
};
