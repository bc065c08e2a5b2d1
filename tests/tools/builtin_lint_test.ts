// SPDX-License-Identifier: Apache-2.0
// Deno only: the linter's own rules that the style guide relies on are on, and fire.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const CASES: readonly (readonly [rule: string, source: string])[] = [
  ["no-slow-types", "export function f() { return [Math.max(1, 2)]; }\n"],
  ["explicit-function-return-type", "export function f() { return 1; }\n"],
  ["no-explicit-any", "export const a: any = 1;\n"],
  ["no-non-null-assertion", "export const a: number = (globalThis as { b?: number }).b!;\n"],
  ["no-unused-vars", "function f(): void { const a = 1; }\nexport const g: () => void = f;\n"],
  ["eqeqeq", "export const a: boolean = (1 as unknown) == 2;\n"],
];

for (const [rule, source] of CASES) {
  test(`the rules of deno.json refuse ${rule}`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "tikv-lint-"));
    try {
      const { lint } = JSON.parse(
        await readFile(join(import.meta.dirname ?? ".", "../../deno.json"), "utf8"),
      );
      const manifest = { name: "@a/b", version: "1.0.0", exports: "./mod.ts", lint: { rules: lint.rules } };
      await writeFile(join(folder, "deno.json"), JSON.stringify(manifest));
      await writeFile(join(folder, "a.ts"), "export type A = number;\n");
      await writeFile(join(folder, "mod.ts"), source);
      const command = new Deno.Command(Deno.execPath(), {
        args: ["lint", "--json"],
        cwd: folder,
        stdin: "null",
      });
      const { stdout } = await command.output();
      const { diagnostics } = JSON.parse(new TextDecoder().decode(stdout)) as {
        diagnostics: { code: string }[];
      };
      assert.ok(diagnostics.some(({ code }) => code === rule), JSON.stringify(diagnostics));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}
