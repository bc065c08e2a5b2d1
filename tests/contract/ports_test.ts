// SPDX-License-Identifier: Apache-2.0

import { reportSkipped } from "./backend.ts";
import { playgroundBackend } from "./playground_backend.ts";
import { runSuites } from "./suites.ts";

runSuites(playgroundBackend({ apiVersion: "v1ttl", hasPorts: true }));
runSuites(playgroundBackend({ apiVersion: 2, hasPorts: true, hasTls: true }));
runSuites(playgroundBackend({ apiVersion: 1, mode: "txn", hasPorts: true }));
runSuites(playgroundBackend({ apiVersion: 2, mode: "txn", hasPorts: true, hasTls: true }));
reportSkipped();
