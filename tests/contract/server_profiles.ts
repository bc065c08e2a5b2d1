// SPDX-License-Identifier: Apache-2.0
// What well-known servers lack, for TIKV_SERVER_PROFILE. Real TiKV needs no profile: it has it all.

import type { Capability } from "./backend.ts";

/** What each kind of server lacks, with the reason. */
export const SERVER_PROFILES: Readonly<Record<string, Readonly<Partial<Record<Capability, string>>>>> = {
  // A real placement driver, and a store for tests over an engine without Raft.
  unistore: {
    "no-ttl": "its raw engine keeps a TTL in every API version",
    "strict-api": "its raw engine checks neither the API version nor the column family",
    "stored-keys": "its raw engine keeps keys of API version 2 unencoded",
    "new-pd": "its PD is of version 8.1",
    "peer-checks": "its replicas are one engine: it serves any of them, and refuses every other epoch",
  },
};
