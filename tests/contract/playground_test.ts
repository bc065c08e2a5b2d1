// SPDX-License-Identifier: Apache-2.0

import { reportSkipped } from "./backend.ts";
import { movementSuite } from "./movement_suite.ts";
import { planSuite } from "./plan_suite.ts";
import { playgroundBackend } from "./playground_backend.ts";
import { rawSuite } from "./raw_suite.ts";
import { scanSuite } from "./scan_suite.ts";
import { strictnessSuite } from "./strictness_suite.ts";
import { troubleSuite } from "./trouble_suite.ts";

for (const apiVersion of [1, "v1ttl", 2] as const) {
  const backend = playgroundBackend({ apiVersion });
  for (const suite of [rawSuite, scanSuite, movementSuite, troubleSuite, planSuite, strictnessSuite]) {
    suite(backend);
  }
}
reportSkipped();
