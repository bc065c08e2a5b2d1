// SPDX-License-Identifier: Apache-2.0
// Every suite; each backend runs them all, less what it lacks.

import type { Backend } from "./backend.ts";
import { movementSuite } from "./movement_suite.ts";
import { planSuite } from "./plan_suite.ts";
import { rawSuite } from "./raw_suite.ts";
import { scanSuite } from "./scan_suite.ts";
import { strictnessLimitsSuite } from "./strictness_limits_suite.ts";
import { strictnessPdSuite } from "./strictness_pd_suite.ts";
import { strictnessSuite } from "./strictness_suite.ts";
import { troubleSuite } from "./trouble_suite.ts";

/** All suites in the order in which they are run. */
export const SUITES: readonly ((backend: Backend) => void)[] = [
  rawSuite,
  scanSuite,
  movementSuite,
  troubleSuite,
  planSuite,
  strictnessSuite,
  strictnessLimitsSuite,
  strictnessPdSuite,
];
