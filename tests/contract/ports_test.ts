// SPDX-License-Identifier: Apache-2.0

import { reportSkipped } from "./backend.ts";
import { playgroundBackend } from "./playground_backend.ts";
import { SUITES } from "./suites.ts";

const BACKENDS = [
  playgroundBackend({ apiVersion: "v1ttl", hasPorts: true }),
  playgroundBackend({ apiVersion: 2, hasPorts: true, hasTls: true }),
];

for (const backend of BACKENDS) {
  for (const suite of SUITES) suite(backend);
}
reportSkipped();
