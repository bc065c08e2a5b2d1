// SPDX-License-Identifier: Apache-2.0

import { reportSkipped } from "./backend.ts";
import { playgroundBackend } from "./playground_backend.ts";
import { SUITES } from "./suites.ts";

for (const apiVersion of ["v1ttl", 2] as const) {
  const backend = playgroundBackend({ apiVersion, hasPorts: true });
  for (const suite of SUITES) suite(backend);
}
reportSkipped();
