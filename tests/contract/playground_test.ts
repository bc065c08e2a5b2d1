// SPDX-License-Identifier: Apache-2.0

import { reportSkipped } from "./backend.ts";
import { playgroundBackend } from "./playground_backend.ts";
import { runSuites } from "./suites.ts";

for (const apiVersion of [1, "v1ttl", 2] as const) runSuites(playgroundBackend({ apiVersion }));
for (const apiVersion of [1, 2] as const) runSuites(playgroundBackend({ apiVersion, mode: "txn" }));
reportSkipped();
