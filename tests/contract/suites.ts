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
import { txnAnswersSuite } from "./txn_answers_suite.ts";
import { txnLocksSuite } from "./txn_locks_suite.ts";
import { txnOptionsSuite } from "./txn_options_suite.ts";
import { txnGarbageSuite, txnReadsSuite } from "./txn_reads_suite.ts";
import { txnReplicasSuite } from "./txn_replicas_suite.ts";
import { txnStatementsSuite } from "./txn_statements_suite.ts";
import { txnSuite } from "./txn_suite.ts";
import { txnTroubleSuite } from "./txn_trouble_suite.ts";

/** Runs every suite of the mode of a backend, in their order. */
export function runSuites(backend: Backend): void {
  for (const suite of backend.mode === "raw" ? RAW_SUITES : TXN_SUITES) suite(backend);
}

const RAW_SUITES: readonly ((backend: Backend) => void)[] = [
  rawSuite,
  scanSuite,
  movementSuite,
  troubleSuite,
  planSuite,
  strictnessSuite,
  strictnessLimitsSuite,
  strictnessPdSuite,
];

const TXN_SUITES: readonly ((backend: Backend) => void)[] = [
  txnSuite,
  txnReadsSuite,
  txnReplicasSuite,
  txnLocksSuite,
  txnOptionsSuite,
  txnStatementsSuite,
  txnTroubleSuite,
  txnAnswersSuite,
  txnGarbageSuite,
];
