// SPDX-License-Identifier: Apache-2.0
// `deno task demo [--runtime deno|bun|node|node22] [-- PATH]`: runs tools/demo.ts in a runtime,
// installing it first where it is missing.

import { join } from "node:path";
import { runtimeBinary, type RuntimeName, SCRIPT_ARGUMENTS, VERSIONS } from "./runtimes.ts";

function isRuntime(name: string): name is RuntimeName {
  return name === "deno" || Object.hasOwn(VERSIONS, name);
}

const args = Deno.args.filter((argument) => argument !== "--");
let runtime: RuntimeName = "deno";
const at = args.findIndex((argument) => argument === "--runtime" || argument.startsWith("--runtime="));
if (at >= 0) {
  const inline = args[at]?.split("=")[1];
  const name = inline ?? args[at + 1] ?? "";
  args.splice(at, inline === undefined ? 2 : 1);
  if (!isRuntime(name)) {
    console.error(`Cannot run the demo: "${name}" is not a runtime, want deno, bun, node or node22`);
    Deno.exit(2);
  }
  runtime = name;
}
const initial = Deno.env.get("INIT_CWD");
const script = join(import.meta.dirname ?? ".", "demo.ts");
const { code } = await new Deno.Command(await runtimeBinary(runtime), {
  args: [...SCRIPT_ARGUMENTS[runtime], script, ...args],
  // A task runs in the project's folder; a path means what it means where the user stands.
  ...(initial === undefined ? {} : { cwd: initial }),
  stdin: "null",
}).spawn().status;
Deno.exit(code);
