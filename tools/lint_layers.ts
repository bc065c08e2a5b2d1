// SPDX-License-Identifier: Apache-2.0
// Lint plugin: an import goes to a lower layer or stays in its folder (docs/architecture.md).

/** The layer of each folder or file directly below `src/`. */
const LAYER_OF: Readonly<Record<string, number>> = {
  "bytes": 0,
  "async": 0,
  "errors.ts": 0,
  "txn_errors.ts": 0,
  "types.ts": 0,
  "options.ts": 0,
  "version.ts": 0,
  "codec": 1,
  "observe": 1,
  "settings.ts": 1,
  "client_options.ts": 1,
  "tikv_url.ts": 1,
  "rpc": 2,
  "pd": 3,
  "region": 4,
  "plan": 5,
  "raw": 6,
  "txn": 6,
  "client": 7,
  "client.ts": 8,
};

/** Folders of one layer that must not know each other. */
const STRANGERS: ReadonlySet<string> = new Set(["raw>txn", "txn>raw"]);

/** Layers that may import the generated protobuf code. */
const GEN_LAYERS = { lowest: 2, highest: 6 } as const;

/** What stands beside the layers, with what it may import below `src/`. */
const BESIDE: Readonly<Record<string, readonly RegExp[]>> = {
  "testing": [
    /^async\//,
    /^bytes\//,
    /^errors\.ts$/,
    /^types\.ts$/,
    /^rpc\/(server|memory|transport|grpc_\w+)\.ts$/,
  ],
  "playground": [
    /^async\//,
    /^bytes\//,
    /^errors\.ts$/,
    /^types\.ts$/,
    /^rpc\/(server|memory|transport|grpc_\w+)\.ts$/,
    /^rpc\/http2\/(server|status_server|tls)\.ts$/,
    /^testing\//,
  ],
};

/** Returns why an import breaks the layer rule, or undefined when it may stand. Paths are relative to the root. */
export function layerViolation(file: string, imported: string): string | undefined {
  if (!file.startsWith("src/")) return undefined;
  const from = file.slice("src/".length);
  const fromFolder = from.split("/")[0] ?? "";
  const beside = BESIDE[fromFolder];
  if (imported.startsWith("gen/")) {
    if (beside !== undefined) return undefined;
    const layer = LAYER_OF[fromFolder];
    if (layer === undefined || layer < GEN_LAYERS.lowest || layer > GEN_LAYERS.highest) {
      return `"${from}" must not import generated code: layers ${GEN_LAYERS.lowest} to ${GEN_LAYERS.highest} may`;
    }
    return undefined;
  }
  if (!imported.startsWith("src/")) {
    return imported === "mod.ts" ? `"${from}" must not import the entry module` : undefined;
  }
  const to = imported.slice("src/".length);
  const toFolder = to.split("/")[0] ?? "";
  if (fromFolder === toFolder) return undefined;
  if (beside !== undefined) {
    return beside.some((pattern) => pattern.test(to))
      ? undefined
      : `"${fromFolder}/" must not import "${to}"`;
  }
  const fromLayer = LAYER_OF[fromFolder];
  const toLayer = LAYER_OF[toFolder];
  if (fromLayer === undefined) {
    return `"${fromFolder}" has no layer: add it to tools/lint_layers.ts and the map`;
  }
  if (toLayer === undefined) return `"${fromFolder}" must not import "${to}", which stands beside the layers`;
  if (STRANGERS.has(`${fromFolder}>${toFolder}`)) return `"${fromFolder}/" must not import "${to}"`;
  if (toLayer > fromLayer) return `"${from}" (layer ${fromLayer}) must not import "${to}" (layer ${toLayer})`;
  if (toLayer === fromLayer && toLayer > 1) return `"${from}" must not import "${to}" of the same layer`;
  return undefined;
}

/** Turns the specifier of an import into a path relative to the root; undefined for packages. */
export function resolveImport(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const parts = file.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** The path of a linted file relative to the root of the project. */
export function projectPath(filename: string): string {
  const path = filename.replaceAll("\\", "/");
  const found = /(?:^|\/)((?:src|gen|tests|tools|bench|docs)\/.*|mod\.ts)$/.exec(path);
  return found?.[1] ?? path;
}

const plugin: Deno.lint.Plugin = {
  name: "layers",
  rules: {
    "no-upward-import": {
      create(context): Deno.lint.LintVisitor {
        const file = projectPath(context.filename);
        const check = (node: { source: Deno.lint.StringLiteral | null | Deno.lint.Expression }): void => {
          const { source } = node;
          if (source === null || source.type !== "Literal" || typeof source.value !== "string") return;
          const imported = resolveImport(file, source.value);
          const message = imported === undefined ? undefined : layerViolation(file, imported);
          if (message !== undefined) context.report({ node: source, message });
        };
        return {
          ImportDeclaration: check,
          ExportNamedDeclaration: check,
          ExportAllDeclaration: check,
          ImportExpression: check,
        };
      },
    },
  },
};

export default plugin;
