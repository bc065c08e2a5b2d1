// SPDX-License-Identifier: Apache-2.0
// Lint plugin: the rules of docs/style.md that a tool can check.

import { projectPath } from "./lint_layers.ts";

const SRC_LINES = 400;
const TEST_LINES = 600;
const SPDX = "// SPDX-License-Identifier: Apache-2.0";

/** Names of the runtimes and of Node's globals that the library must do without. */
const RUNTIME_GLOBALS: ReadonlySet<string> = new Set([
  "Deno",
  "Bun",
  "process",
  "Buffer",
  "require",
  "console",
]);

/** Sources of time and chance; only src/async/clock.ts may touch them. */
const IMPURE_GLOBALS: ReadonlySet<string> = new Set([
  "setTimeout",
  "setInterval",
  "setImmediate",
  "clearTimeout",
  "clearInterval",
  "performance",
  "crypto",
]);
const IMPURE_MEMBERS: ReadonlySet<string> = new Set(["Date.now", "Math.random", "AbortSignal.timeout"]);

const VAGUE_FILE = /\/(index|utils|util|helpers|helper|common|misc)\.ts$/;
const FILE_NAME = /^[a-z0-9]+(_[a-z0-9]+)*(_test|_bench|_pb)?\.(ts|d\.ts)$/;

type Context = Deno.lint.RuleContext;
type Visitor = Deno.lint.LintVisitor;

function rule(create: (context: Context, file: string) => Visitor): Deno.lint.Rule {
  return { create: (context) => create(context, projectPath(context.filename)) };
}

function isSource(file: string): boolean {
  return file.startsWith("src/") || file === "mod.ts";
}

/** Whether an identifier is used as a value, not as a property name, key or declaration. */
function isReference(node: Deno.lint.Identifier): boolean {
  const parent = node.parent as { type: string; property?: unknown; key?: unknown; computed?: boolean };
  if (parent.type === "MemberExpression" && parent.property === node && parent.computed !== true) {
    return false;
  }
  if ("key" in parent && parent.key === node && parent.computed !== true) return false;
  return !/^(TS|ImportSpecifier|ExportSpecifier)/.test(parent.type);
}

const plugin: Deno.lint.Plugin = {
  name: "style",
  rules: {
    "file-length": rule((context, file) => ({
      Program(node): void {
        const limit = file.startsWith("src/") ? SRC_LINES : file.startsWith("tests/") ? TEST_LINES : Infinity;
        const lines = context.sourceCode.text.trimEnd().split("\n").length;
        if (lines > limit) {
          context.report({ node, message: `${lines} lines: split the file, ${limit} is the limit` });
        }
      },
    })),
    "file-name": rule((context, file) => ({
      Program(node): void {
        const name = file.slice(file.lastIndexOf("/") + 1);
        if (!FILE_NAME.test(name)) context.report({ node, message: `"${name}" is not in snake_case` });
        if (file.startsWith("src/") && VAGUE_FILE.test(file)) {
          context.report({ node, message: `"${name}" says nothing: name the file after its main export` });
        }
      },
    })),
    "spdx": rule((context) => ({
      Program(node): void {
        const { text } = context.sourceCode;
        const start = text.startsWith("#!") ? text.indexOf("\n") + 1 : 0;
        if (!text.startsWith(SPDX, start)) {
          context.report({ node, message: `The first line is not "${SPDX}"` });
        }
      },
    })),
    "explicit-exports": rule((context) => ({
      ExportAllDeclaration(node): void {
        if (node.exported === null) {
          context.report({ node, message: "`export *` hides what is public: list the names" });
        }
      },
      ExportDefaultDeclaration(node): void {
        if (!projectPath(context.filename).startsWith("tools/lint_")) {
          context.report({
            node,
            message: "No default exports: a name is found by search, a default is not",
          });
        }
      },
    })),
    "erasable": rule((context) => {
      const report = (what: string) => (node: Deno.lint.Node): void =>
        context.report({ node, message: `${what} cannot be stripped by Node` });
      return {
        TSEnumDeclaration: report("An enum"),
        TSModuleDeclaration: report("A namespace"),
        TSParameterProperty: report("A parameter property"),
        Decorator: report("A decorator"),
        TSImportEqualsDeclaration: report("`import =`"),
        TSExportAssignment: report("`export =`"),
      };
    }),
    "no-using": rule((context, file) => ({
      VariableDeclaration(node): void {
        if (isSource(file) && (node.kind === "using" || node.kind === "await using")) {
          context.report({
            node,
            message: "Node 22 cannot parse `using`: implement the symbols, use try/finally",
          });
        }
      },
    })),
    "no-runtime": rule((context, file) => {
      if (!isSource(file)) return {};
      const checkSource = (node: { source: Deno.lint.Node | null }): void => {
        const source = node.source as { type: string; value?: unknown } | null;
        if (source?.type !== "Literal" || typeof source.value !== "string") return;
        if (/^(node|bun|deno):/.test(source.value) && !file.startsWith("src/rpc/http2/")) {
          context.report({
            node: node.source as Deno.lint.Node,
            message: `"${source.value}" may be imported in src/rpc/http2/ only`,
          });
        }
      };
      return {
        ImportDeclaration: checkSource,
        ExportNamedDeclaration: checkSource,
        ImportExpression: checkSource,
        Identifier(node): void {
          if (RUNTIME_GLOBALS.has(node.name) && isReference(node)) {
            context.report({ node, message: `\`${node.name}\` is not there in every runtime` });
          }
        },
      };
    }),
    "no-ambient": rule((context, file) => {
      if (!isSource(file) || file === "src/async/clock.ts") return {};
      return {
        Identifier(node): void {
          if (IMPURE_GLOBALS.has(node.name) && isReference(node)) {
            context.report({
              node,
              message: `\`${node.name}\` breaks simulation: take Clock and Random as input`,
            });
          }
        },
        MemberExpression(node): void {
          const name = context.sourceCode.getText(node);
          if (IMPURE_MEMBERS.has(name)) {
            context.report({
              node,
              message: `\`${name}\` breaks simulation: take Clock and Random as input`,
            });
          }
        },
      };
    }),
    "no-message-match": rule((context, file) => ({
      CallExpression(node): void {
        if (!isSource(file)) return;
        const callee = context.sourceCode.getText(node.callee);
        if (/\.message\??\.(includes|startsWith|endsWith|match|indexOf|search)$/.test(callee)) {
          context.report({
            node,
            message: "An error is not decided by its text: use the table of its source",
          });
        }
      },
    })),
    "no-real-time-tests": rule((context, file) => ({
      CallExpression(node): void {
        if (!file.startsWith("tests/unit/") && !file.startsWith("tests/protocol/")) return;
        const callee = context.sourceCode.getText(node.callee);
        if (callee === "setTimeout" || callee === "setInterval" || callee === "Math.random") {
          context.report({
            node,
            message: `\`${callee}\` makes a test depend on luck: use ManualClock or a seed`,
          });
        }
      },
    })),
  },
};

export default plugin;
