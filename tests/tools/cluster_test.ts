// SPDX-License-Identifier: Apache-2.0
// `deno task cluster` with a stand-in for tiup that starts the playground on the port it is told.

import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname ?? ".", "..", "..");

/** What tiup is asked for, turned into what the playground is asked for. */
const STAND_IN = `#!/usr/bin/env bash
[ "$1" = "--version" ] && exit 0
for argument in "$@"; do
  case "$argument" in
    --pd.port=*) port="\${argument#*=}" ;;
    --kv=*) stores="\${argument#*=}" ;;
    --kv.config=*) config="\${argument#*=}" ;;
  esac
done
version=v1
grep -q "enable-ttl = true" "$config" && version=v1ttl
grep -q "api-version = 2" "$config" && version=v2
exec "$TIKV_TEST_DENO" run -A "$TIKV_TEST_ROOT/tools/playground.ts" --stores "$stores" --pd-port "$port" --api-version "$version"
`;

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function withStandIn(work: (run: (...args: string[]) => Promise<Ran>) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tikv-tiup-"));
  try {
    const tiup = join(folder, "tiup");
    await writeFile(tiup, STAND_IN);
    await chmod(tiup, 0o755);
    await work(async (...args) => {
      const command = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", join(ROOT, "tools/cluster.ts"), ...args],
        env: {
          PATH: `${folder}:${Deno.env.get("PATH")}`,
          TIKV_TEST_DENO: Deno.execPath(),
          TIKV_TEST_ROOT: ROOT,
          NO_COLOR: "1",
        },
        stdin: "null",
      });
      const { code, stdout, stderr } = await command.output();
      const decoder = new TextDecoder();
      return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("cluster up waits until the stores serve and prints where; down ends what it started", async () => {
  await withStandIn(async (run) => {
    const started = await run("up", "--stores", "2", "--api-version", "v2");
    try {
      assert.equal(started.code, 0, started.err);
      assert.match(started.out, /^TIKV_PD_ADDRS=127\.0\.0\.1:\d+$/m);
      assert.match(started.out, /^TIKV_API_VERSION=v2$/m);
      const again = await run("up");
      assert.equal(again.code, 2);
      assert.match(again.err, /a cluster runs already/);
    } finally {
      assert.equal((await run("down")).code, 0);
    }
    assert.equal((await run("down")).code, 0);
  });
});

test("cluster smoke runs the contract suite in each runtime and ends", async () => {
  await withStandIn(async (run) => {
    const ran = await run("smoke", "--stores", "3", "--api-version", "v1ttl");
    assert.equal(ran.code, 0, ran.out.slice(-3_000) + ran.err.slice(-3_000));
    for (const runtime of ["deno", "bun", "node"]) {
      assert.ok(ran.out.includes(`contract suite in ${runtime}`));
    }
  });
});

test("cluster refuses what it does not know", async () => {
  await withStandIn(async (run) => {
    assert.equal((await run("up", "--api-version", "v3")).code, 2);
    assert.equal((await run("up", "--stores", "none")).code, 2);
    assert.equal((await run("up", "--tls-ca", "ca.pem")).code, 2);
    assert.equal((await run("sideways")).code, 2);
  });
});
