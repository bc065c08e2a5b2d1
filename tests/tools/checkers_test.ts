// SPDX-License-Identifier: Apache-2.0
// The project's own checkers are shown to say no.

import assert from "node:assert/strict";
import { test } from "node:test";
import { jsdocExamples, markdownExamples, moduleOf } from "../../tools/check_docs.ts";
import { type Manifest, manifestProblems } from "../../tools/check_manifests.ts";
import { idsOf, parseParity } from "../../tools/check_parity.ts";
import { parseJunit } from "../../tools/junit.ts";

const DENO: Manifest = {
  name: "@tikv/client",
  version: "1.0.0",
  license: "Apache-2.0",
  exports: { ".": "./mod.ts" },
  imports: { "@bufbuild/protobuf": "npm:@bufbuild/protobuf@2.0.0" },
};
const NPM: Manifest = { private: true, dependencies: { "@bufbuild/protobuf": "2.0.0" } };

test("manifestProblems() finds nothing when the manifests agree", () => {
  assert.deepEqual(manifestProblems(DENO, { ...DENO }, NPM), []);
});

test("manifestProblems() names each field that differs", () => {
  for (const field of ["name", "version", "license", "exports", "imports"] as const) {
    const problems = manifestProblems(DENO, { ...DENO, [field]: field === "name" ? "x" : {} }, NPM);
    assert.equal(problems.length, 1, field);
    assert.ok(problems[0]?.includes(`"${field}"`), field);
  }
});

test("manifestProblems() refuses a package that run time must not need", () => {
  const deno = { ...DENO, imports: { ...DENO.imports, "left-pad": "npm:left-pad@1.0.0" } };
  const npm = { ...NPM, dependencies: { ...NPM.dependencies, "left-pad": "1.0.0" } };
  assert.equal(manifestProblems(deno, deno, npm).length, 1);
});

test("manifestProblems() refuses another version in package.json, and a public package.json", () => {
  const npm: Manifest = { dependencies: { "@bufbuild/protobuf": "2.0.1" } };
  assert.equal(manifestProblems(DENO, DENO, npm).length, 2);
});

test("parseParity() reads rows and refuses what only looks like one", () => {
  const row = "| RAW-001 | Client | done |  | 3 |";
  assert.deepEqual(parseParity(`# x\n\n${row}\n`), [{
    id: "RAW-001",
    what: "Client",
    status: "done",
    note: "",
    tests: 3,
  }]);
  assert.throws(() => parseParity("| RAW-001 | Client | finished |  | 3 |"), /RAW-001/);
});

test("idsOf() reads one or many IDs in brackets", () => {
  assert.deepEqual(idsOf("[RAW-001, KS-002] [BO-003] get() does RAW-009"), ["RAW-001", "KS-002", "BO-003"]);
});

test("parseJunit() tells passed, failed and skipped tests apart", () => {
  const xml =
    `<testsuite><testcase name="a &amp; b" time="1"/><testcase name="c"><failure message="no">at x</failure>` +
    `</testcase><testcase name="d"><skipped/></testcase></testsuite>`;
  assert.deepEqual(parseJunit(xml).map(({ name, status }) => [name, status]), [
    ["a & b", "passed"],
    ["c", "failed"],
    ["d", "skipped"],
  ]);
});

test("markdownExamples() and jsdocExamples() find the blocks that are run", () => {
  assert.deepEqual(markdownExamples("a.md", "x\n```ts\nf();\n```\n```ts ignore\ng();\n```\n"), [
    { source: "a.md:2", code: "f();\n" },
  ]);
  const source = "\n/**\n * Text.\n *\n * ```ts\n * f();\n * ```\n */\nexport function f() {}\n";
  assert.deepEqual(jsdocExamples("a.ts", source), [{ source: "a.ts:5", code: "f();\n" }]);
});

test("moduleOf() gives an example the client and cluster that it uses but does not make", () => {
  const made = moduleOf({ source: "a", code: 'await client.raw.put("a", "b");\n' });
  assert.ok(made.includes("await using cluster") && made.includes("await using client"));
  const own = moduleOf({
    source: "a",
    code: 'await using client = await connect("http://127.0.0.1:2379");\n',
  });
  assert.ok(!own.includes("connect(cluster)") && own.includes("cluster.pdAddresses[0]"));
});
