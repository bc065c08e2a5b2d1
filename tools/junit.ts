// SPDX-License-Identifier: Apache-2.0
// Reads the JUnit reports that the three test runners write.

/** One test as a runner reported it. */
export interface TestResult {
  readonly name: string;
  readonly status: "passed" | "failed" | "skipped";
  readonly message: string;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));/g, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return ENTITIES[name] ?? whole;
  });
}

/** Lists every test case of a report. */
export function parseJunit(xml: string): TestResult[] {
  const results: TestResult[] = [];
  const cases = /<testcase\b((?:[^>"]|"[^"]*")*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g;
  for (const [, attributes = "", body = ""] of xml.matchAll(cases)) {
    const name = unescapeXml(/\bname="([^"]*)"/.exec(attributes)?.[1] ?? "");
    const isFailed = /<(failure|error)\b/.test(body);
    const isSkipped = /<skipped\b/.test(body);
    const message = isFailed
      ? unescapeXml(body.replace(/<[^>]*message="([^"]*)"[^>]*>/, "$1\n").replace(/<[^>]+>/g, ""))
      : "";
    results.push({ name, status: isFailed ? "failed" : isSkipped ? "skipped" : "passed", message });
  }
  return results;
}
