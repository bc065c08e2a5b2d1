// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAddresses } from "../../src/addresses.ts";

function parsed(addresses: string[], isSecure?: boolean, keyspace?: string): unknown {
  return { addresses, isSecure, keyspace };
}

test("[CFG-034] parseAddresses() reads each way of writing the addresses of PD", () => {
  assert.deepEqual(parseAddresses("pd:2379"), parsed(["pd:2379"]));
  assert.deepEqual(parseAddresses("pd"), parsed(["pd:2379"]));
  assert.deepEqual(parseAddresses("http://pd:2380/"), parsed(["pd:2380"], false));
  assert.deepEqual(parseAddresses("HTTPS://[::1]:2379"), parsed(["[::1]:2379"], true));
  assert.deepEqual(parseAddresses(["a:1", "http://b:2", "a:1"]), parsed(["a:1", "b:2"], false));
  assert.deepEqual(parseAddresses("http://a:1,http://b:2"), parsed(["a:1", "b:2"], false));
  assert.deepEqual(parseAddresses("tikv://a:1,b:2"), parsed(["a:1", "b:2"]));
  assert.deepEqual(
    parseAddresses("TiKV://a:1,b:2?disableGC=false&keyspaceName=x"),
    parsed(["a:1", "b:2"], undefined, "x"),
  );
});

test("[CFG-034] parseAddresses() refuses what is no address, with the class of the mistake", () => {
  const bad: readonly [unknown, ErrorConstructor][] = [
    [undefined, TypeError],
    [5, TypeError],
    [[5], TypeError],
    ["", RangeError],
    [[], RangeError],
    ["ftp://a:1", RangeError],
    ["a:0", RangeError],
    ["a:70000", RangeError],
    ["a:b", RangeError],
    ["http://a:1/path", RangeError],
    ["http://a:1?keyspace=x", RangeError],
    ["tikv://a:1?disableGC=maybe", RangeError],
    ["tikv://a:1?keyspce=x", TypeError],
    [["http://a:1", "https://b:1"], RangeError],
  ];
  for (const [input, expected] of bad) {
    assert.throws(() => parseAddresses(input as string), expected, JSON.stringify(input));
  }
});

test("parseAddresses() refuses credentials and does not repeat them", () => {
  assert.throws(() => parseAddresses("tikv://root:secret@pd:2379"), (error) => {
    assert.ok(error instanceof RangeError);
    assert.doesNotMatch(error.message, /secret/);
    assert.match(error.message, /tls/);
    return true;
  });
});
