// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DefinitionError, entryModule } from "../../../tools/gen_entry.ts";

const PIN = "module example.org/definitions\nversion v1.2.3\ndate 2026-01-02\n";

describe("entryModule()", () => {
  test("exports one namespace per file, in order, from any folder", () => {
    const text = entryModule(["metapb.proto", "grpc/health/v1/health.proto"], PIN);
    const health = 'export * as health from "./grpc/health/v1/health_pb.ts";';
    const metapb = 'export * as metapb from "./metapb_pb.ts";';
    assert.deepEqual(text.split("\n").filter((line) => line.startsWith("export")), [health, metapb]);
  });

  test("names the pinned version in the module's documentation", () => {
    assert.match(entryModule(["metapb.proto"], PIN), /follow kvproto `v1\.2\.3`/);
  });

  test("refuses two files that give the same namespace", () => {
    assert.throws(() => entryModule(["a/health.proto", "b/health.proto"], PIN), DefinitionError);
  });

  test("refuses a pin without a version", () => {
    assert.throws(() => entryModule(["metapb.proto"], "module example.org/definitions\n"), DefinitionError);
  });
});
