// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ApiVersion, CommandMode } from "../../../src/playground/api_version.ts";
import { ApiRules, StorageError } from "../../../src/playground/api_version.ts";
import { bytes } from "./gen_client.ts";

const V1 = 0;
const V1TTL = 1;
const V2 = 2;

function refusal(action: () => void): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof StorageError) return error.message;
    throw error;
  }
}

test("[RAW-022] a store takes the versions of requests that TiKV takes", () => {
  const rows: readonly (readonly [ApiVersion, number, CommandMode, string, boolean])[] = [
    ["v1", V1, "raw", "k", true],
    ["v1", V1, "txn", "k", true],
    ["v1", V1TTL, "raw", "k", false],
    ["v1", V2, "raw", "rk", false],
    ["v1ttl", V1, "raw", "k", true],
    ["v1ttl", V1TTL, "raw", "k", false],
    ["v1ttl", V1, "txn", "k", false],
    ["v1ttl", V2, "raw", "rk", false],
    ["v2", V2, "raw", "r\0\0\0k", true],
    ["v2", V2, "raw", "x\0\0\0k", false],
    ["v2", V2, "raw", "k", false],
    ["v2", V2, "raw", "", false],
    ["v2", V2, "txn", "x\0\0\0k", true],
    ["v2", V2, "txn", "r\0\0\0k", false],
    ["v2", V1, "raw", "r\0\0\0k", false],
    ["v2", V1, "txn", "t\0k", true],
    ["v2", V1, "txn", "m\0k", true],
    ["v2", V1, "txn", "k", false],
    ["v2", 3, "raw", "rk", false],
  ];
  for (const [storage, request, mode, key, isTaken] of rows) {
    const rules = new ApiRules(storage);
    const result = refusal(() => rules.checkKeys("raw_get", mode, request, [bytes(key)]));
    assert.equal(
      result === undefined,
      isTaken,
      `${storage} ${request} ${mode} ${JSON.stringify(key)}: ${result}`,
    );
  }
});

test("[RAW-022] the texts of refusals are those of TiKV", () => {
  assert.equal(
    refusal(() => new ApiRules("v1").checkKeys("raw_get", "raw", V2, [bytes("k")])),
    "Api version in request does not match with TiKV storage, cmd: raw_get, storage: V1, request: V2",
  );
  assert.equal(
    refusal(() => new ApiRules("v2").checkKeys("raw_put", "raw", V2, [bytes("k")])),
    "Key mode mismatched with the request mode, cmd: raw_put, storage: V2, key: 6B",
  );
  const range = { start: bytes("ra"), end: undefined };
  assert.equal(
    refusal(() => new ApiRules("v2").checkRanges("raw_scan", "raw", V2, [range])),
    `Key mode mismatched with the request mode, cmd: raw_scan, storage: V2, range: (Some("7261"), None)`,
  );
});

test("[KS-003] a range of V2 has both ends in one mode, or the end right behind the mode", () => {
  const rows: readonly (readonly [string, string | undefined, boolean])[] = [
    ["r\0\0\0a", "r\0\0\0b", true],
    ["r", "s", true],
    ["r\0\0\0a", "s", true],
    ["r\0\0\0a", "s\0\0\0", false],
    ["r\0\0\0a", "", false],
    ["r\0\0\0a", undefined, false],
    ["", "r\0\0\0a", false],
    ["a", "r", false],
    ["x\0\0\0a", "x\0\0\0b", false],
  ];
  for (const [start, end, isTaken] of rows) {
    const range = { start: bytes(start), end: end === undefined ? undefined : bytes(end) };
    const result = refusal(() => new ApiRules("v2").checkRanges("raw_scan", "raw", V2, [range]));
    assert.equal(result === undefined, isTaken, JSON.stringify([start, end]));
  }
});

test("[RAW-018] column families have names in V1 and none in V2", () => {
  for (const name of ["default", "lock", "write"] as const) {
    assert.equal(new ApiRules("v1").columnFamily(name), name);
  }
  assert.equal(new ApiRules("v2").columnFamily(""), "default");
  assert.equal(refusal(() => new ApiRules("v1").columnFamily("other")), "invalid cf name: other");
  assert.equal(
    refusal(() => new ApiRules("v2").columnFamily("default")),
    "cf is deprecated in API V2, cf name: default",
  );
});
