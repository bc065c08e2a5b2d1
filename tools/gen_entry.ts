// SPDX-License-Identifier: Apache-2.0
// Writes gen/mod.ts: one namespace per definition file, because names repeat between the files.

/** The definitions cannot be brought into this repository; the message says why. */
export class DefinitionError extends Error {
  override name = "DefinitionError";
}

/** Returns the text of the entry module for definition files at these paths; `pin` is the text of `proto/PIN`. */
export function entryModule(paths: readonly string[], pin: string): string {
  const names = new Map<string, string>();
  for (const path of paths) {
    const namespace = namespaceOf(path);
    const other = names.get(namespace);
    if (other !== undefined) {
      throw new DefinitionError(
        `Cannot name a namespace: "${other}" and "${path}" both give "${namespace}"`,
      );
    }
    names.set(namespace, path);
  }
  const lines = [...names].sort(([a], [b]) => a < b ? -1 : 1).map(([namespace, path]) =>
    `/** The definitions of ${path}. */\nexport * as ${namespace} from "./${
      path.replace(/\.proto$/, "_pb.ts")
    }";\n`
  );
  return moduleDocs(versionOf(pin)) + lines.join("");
}

function namespaceOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/\.proto$/, "");
}

function versionOf(pin: string): string {
  const version = /^version (\S+)$/m.exec(pin)?.[1];
  if (version === undefined) throw new DefinitionError('Cannot read "PIN": it has no line "version …"');
  return version;
}

function moduleDocs(version: string): string {
  return `// SPDX-License-Identifier: Apache-2.0
// Written by tools/gen.ts. Do not edit.

/**
 * The messages and services of TiKV and PD, one namespace per definition file, for callers of RPCs that the
 * client does not wrap. They follow kvproto \`${version}\` and change
 * with it in any release: a field or message that TiKV drops is dropped here.
 *
 * @example Encode a request
 * \`\`\`ts
 * import assert from "node:assert/strict";
 * import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
 * import { kvrpcpb } from "@tikv/client/proto";
 *
 * const request = create(kvrpcpb.RawGetRequestSchema, { key: new TextEncoder().encode("greeting") });
 * const bytes = toBinary(kvrpcpb.RawGetRequestSchema, request);
 * assert.deepEqual(fromBinary(kvrpcpb.RawGetRequestSchema, bytes), request);
 * \`\`\`
 *
 * @experimental
 * @module
 */

`;
}
