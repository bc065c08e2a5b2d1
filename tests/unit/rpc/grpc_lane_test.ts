// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { pauseMs } from "../../../src/rpc/http2/lane.ts";
import { SESSION_MOVES } from "../../../src/rpc/http2/session.ts";
import { parseAddress } from "../../../src/rpc/http2/address.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

test("[RPC-004] pauseMs() is none after the first failed dial, then grows from 100 ms by 1.6 to 3 s, ± 20 %", () => {
  const middle = { next: (): number => 0.5 };
  const pauses = [1, 2, 3, 4, 9, 50].map((failures) => Math.round(pauseMs(failures, middle)));
  assert.deepEqual(pauses, [0, 100, 160, 256, 2684, 3000]);
  assert.equal(pauseMs(2, { next: () => 0 }), 80);
  assert.ok(Math.abs(pauseMs(2, { next: () => 1 }) - 120) < 1e-9);
});

test("a session only ever moves towards its end", () => {
  assert.deepEqual(SESSION_MOVES, {
    connecting: ["ready", "closed"],
    ready: ["draining", "closed"],
    draining: ["closed"],
    closed: [],
  });
});

test("parseAddress() takes names, IPv4 and IPv6 in brackets", () => {
  assert.deepEqual(parseAddress("tikv-0.tikv:20160"), { host: "tikv-0.tikv", port: 20160 });
  assert.deepEqual(parseAddress("127.0.0.1:1"), { host: "127.0.0.1", port: 1 });
  assert.deepEqual(parseAddress("[::1]:65535"), { host: "::1", port: 65_535 });
});

test("parseAddress() refuses what is no address", () => {
  const bad = [
    "",
    "host",
    "host:",
    ":1",
    "host:0",
    "host:65536",
    "http://h:1",
    "::1:20160",
    "u@h:1",
    "h:1/x",
    "a b:1",
  ];
  for (const address of bad) throwsKind(() => parseAddress(address), "protocol", address);
});
