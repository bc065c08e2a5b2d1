// SPDX-License-Identifier: Apache-2.0

import { shortKey } from "../bytes/hex.ts";
import { TikvError } from "../errors.ts";
import type { Settings } from "../settings.ts";

/** Refuses a key that no store takes. */
export function assertKeySize(settings: Settings, key: Uint8Array): void {
  const limit = settings.maxKeyBytes - (settings.apiVersion === "v2" ? KEYSPACE_PREFIX_BYTES : 0);
  if (key.length <= limit) return;
  const shown = shortKey(key, settings.revealKeys);
  throw new TikvError(
    "too-large",
    `Cannot use key ${shown}: it has ${key.length} bytes, the limit is ${limit} ("maxKeyBytes")`,
  );
}

// API version 2: a byte for the mode and three for the keyspace.
const KEYSPACE_PREFIX_BYTES = 4;
