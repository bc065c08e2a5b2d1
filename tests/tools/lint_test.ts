// SPDX-License-Identifier: Apache-2.0
// Deno only: it has the linter. Each rule is shown to fire, and to keep quiet.

import assert from "node:assert/strict";
import { test } from "node:test";
import layers, { layerViolation } from "../../tools/lint_layers.ts";
import style from "../../tools/lint_style.ts";

const SPDX = "// SPDX-License-Identifier: Apache-2.0\n";

function idsOf(plugin: Deno.lint.Plugin, file: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, file, source).map((diagnostic) => diagnostic.id);
}

interface Case {
  readonly rule: string;
  readonly file: string;
  readonly bad: string;
  readonly good: string;
}

const STYLE_CASES: readonly Case[] = [
  {
    rule: "style/file-length",
    file: "src/raw/raw.ts",
    bad: SPDX + "const a = 1;\n".repeat(400),
    good: SPDX + "const a = 1;\n".repeat(399),
  },
  {
    rule: "style/file-length",
    file: "tests/unit/raw/raw_test.ts",
    bad: SPDX + "const a = 1;\n".repeat(600),
    good: SPDX + "const a = 1;\n".repeat(599),
  },
  { rule: "style/spdx", file: "src/raw/raw.ts", bad: "const a = 1;\n", good: SPDX },
  {
    rule: "style/explicit-exports",
    file: "src/raw/raw.ts",
    bad: SPDX + 'export * from "./a.ts";',
    good: SPDX + 'export { a } from "./a.ts";',
  },
  {
    rule: "style/explicit-exports",
    file: "src/raw/raw.ts",
    bad: SPDX + "export default 1;",
    good: SPDX + 'export * as a from "./a.ts";',
  },
  {
    rule: "style/erasable",
    file: "src/raw/raw.ts",
    bad: SPDX + "enum A { B }",
    good: SPDX + 'type A = "b";',
  },
  {
    rule: "style/erasable",
    file: "src/raw/raw.ts",
    bad: SPDX + "namespace A { export const b = 1; }",
    good: SPDX + "const A = { b: 1 };",
  },
  {
    rule: "style/erasable",
    file: "src/raw/raw.ts",
    bad: SPDX + "class A { constructor(readonly b: number) {} }",
    good: SPDX + "class A { constructor(b: number) { b; } }",
  },
  { rule: "style/erasable", file: "src/raw/raw.ts", bad: SPDX + "@d class A {}", good: SPDX + "class A {}" },
  {
    rule: "style/no-using",
    file: "src/raw/raw.ts",
    bad: SPDX + "async function f() { await using a = g(); }",
    good: SPDX + "async function f() { const a = g(); }",
  },
  {
    rule: "style/no-runtime",
    file: "src/raw/raw.ts",
    bad: SPDX + 'import net from "node:net";',
    good: SPDX + 'import net from "./net.ts";',
  },
  {
    rule: "style/no-runtime",
    file: "src/raw/raw.ts",
    bad: SPDX + "Deno.exit();",
    good: SPDX + "a.Deno.exit();",
  },
  {
    rule: "style/no-runtime",
    file: "src/raw/raw.ts",
    bad: SPDX + "console.log(1);",
    good: SPDX + "observer.log(1);",
  },
  {
    rule: "style/no-ambient",
    file: "src/raw/raw.ts",
    bad: SPDX + "const a = Date.now();",
    good: SPDX + "const a = clock.now();",
  },
  {
    rule: "style/no-ambient",
    file: "src/raw/raw.ts",
    bad: SPDX + "setTimeout(f, 1);",
    good: SPDX + "clock.timer(1, f);",
  },
  {
    rule: "style/no-ambient",
    file: "src/raw/raw.ts",
    bad: SPDX + "Math.random();",
    good: SPDX + "Math.floor(1);",
  },
  {
    rule: "style/no-message-match",
    file: "src/raw/raw.ts",
    bad: SPDX + 'if (error.message.includes("x")) f();',
    good: SPDX + 'if (error.kind === "x") f();',
  },
  {
    rule: "style/no-real-time-tests",
    file: "tests/unit/raw/raw_test.ts",
    bad: SPDX + "setTimeout(f, 1);",
    good: SPDX + "clock.timer(1, f);",
  },
  { rule: "style/file-name", file: "src/raw/rawClient.ts", bad: SPDX, good: "" },
  { rule: "style/file-name", file: "src/raw/utils.ts", bad: SPDX, good: "" },
];

for (const { rule, file, bad, good } of STYLE_CASES) {
  test(`${rule} fires in ${file} for ${JSON.stringify(bad.slice(SPDX.length, SPDX.length + 40))}`, () => {
    assert.ok(idsOf(style, file, bad).includes(rule));
    if (good !== "") assert.ok(!idsOf(style, file, good).includes(rule));
  });
}

test("style/no-runtime allows node: modules below src/rpc/http2/", () => {
  assert.deepEqual(idsOf(style, "src/rpc/http2/session.ts", SPDX + 'import net from "node:net";'), []);
});

test("layers/no-upward-import fires for an import of a higher layer", () => {
  const source = SPDX + 'import { Raw } from "../raw/raw.ts";';
  assert.deepEqual(idsOf(layers, "src/pd/meta.ts", source), ["layers/no-upward-import"]);
  assert.deepEqual(idsOf(layers, "src/client.ts", SPDX + 'import { Raw } from "./raw/raw.ts";'), []);
});

const LAYER_CASES: readonly (readonly [file: string, imported: string, isAllowed: boolean])[] = [
  ["src/bytes/hex.ts", "src/errors.ts", true],
  ["src/bytes/hex.ts", "src/codec/codec.ts", false],
  ["src/codec/json.ts", "gen/mod.ts", false],
  ["src/rpc/commands.ts", "gen/kvrpcpb_pb.ts", true],
  ["src/client.ts", "gen/mod.ts", false],
  ["src/region/send.ts", "src/pd/meta.ts", true],
  ["src/pd/meta.ts", "src/region/send.ts", false],
  ["src/raw/raw.ts", "src/txn/txn.ts", false],
  ["src/txn/txn.ts", "src/raw/raw.ts", false],
  ["src/playground/store.ts", "src/rpc/server.ts", true],
  ["src/playground/store.ts", "src/rpc/commands.ts", false],
  ["src/playground/store.ts", "src/codec/keyspace.ts", false],
  ["src/playground/store.ts", "src/region/region.ts", false],
  ["src/raw/raw.ts", "src/playground/store.ts", false],
  ["src/raw/raw.ts", "mod.ts", false],
  ["src/unknown/a.ts", "src/errors.ts", false],
  ["tests/unit/a_test.ts", "src/raw/raw.ts", true],
];

for (const [file, imported, isAllowed] of LAYER_CASES) {
  test(`layerViolation() ${isAllowed ? "allows" : "refuses"} ${file} -> ${imported}`, () => {
    assert.equal(layerViolation(file, imported) === undefined, isAllowed);
  });
}
