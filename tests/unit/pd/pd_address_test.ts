// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { memberUrl, parsePdAddresses, schemeError } from "../../../src/pd/pd_address.ts";

test("parsePdAddresses() reads every form of an address", () => {
  const rows: [string | string[], string[], boolean | undefined][] = [
    ["http://pd:2379", ["pd:2379"], false],
    ["http://pd:2379/", ["pd:2379"], false],
    ["HTTPS://pd:443", ["pd:443"], true],
    ["pd:2379", ["pd:2379"], undefined],
    ["pd", ["pd:2379"], undefined],
    [" 127.0.0.1:2379 ", ["127.0.0.1:2379"], undefined],
    ["http://[::1]:2379", ["[::1]:2379"], false],
    ["[::1]", ["[::1]:2379"], undefined],
    ["tikv://a:1,b:2", ["a:1", "b:2"], undefined],
    ["a:1,b:2,a:1", ["a:1", "b:2"], undefined],
    [["http://a:1", "http://b:2", "c:3"], ["a:1", "b:2", "c:3"], false],
    [["tikv://a:1", "https://b:2"], ["a:1", "b:2"], true],
    ["pd:02379", ["pd:2379"], undefined],
  ];
  for (const [endpoints, addresses, isTls] of rows) {
    assert.deepEqual(parsePdAddresses(endpoints), { addresses, isTls }, String(endpoints));
  }
});

test("parsePdAddresses() refuses what is no address, and says why", () => {
  const rows: [unknown, RegExp][] = [
    [[], /empty/],
    ["", /expected host:port/],
    ["http://", /expected host:port/],
    ["a:1,,b:2", /expected host:port/],
    ["ftp://pd:2379", /scheme is "ftp"/],
    ["http://pd:2379/pd/api", /path or a query/],
    ["pd:2379?x=1", /path or a query/],
    ["pd:0", /port/],
    ["pd:65536", /port/],
    ["pd:port", /expected host:port/],
    ["::1", /expected host:port/],
    [["http://a:1", "https://b:2"], /scheme differs/],
    [[5], /not a string/],
    [5, /expected a string or an array/],
    [null, /expected a string or an array/],
  ];
  for (const [endpoints, why] of rows) {
    assert.throws(() => parsePdAddresses(endpoints as string), (error) => {
      assert.ok(error instanceof TypeError, String(endpoints));
      assert.match(error.message, why);
      return true;
    });
  }
});

test("parsePdAddresses() refuses credentials, says that TiKV has none, and does not repeat them", () => {
  for (
    const endpoint of [
      "http://root:secret@pd:2379",
      "root:secret@pd:2379",
      "http://secret@pd:2379/x",
      "tikv://a:1,secret@b:2",
    ]
  ) {
    assert.throws(() => parsePdAddresses(endpoint), (error) => {
      assert.ok(error instanceof TypeError);
      assert.match(error.message, /no authentication/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  }
});

test("[PD-006] memberUrl() takes the URL whose scheme fits", () => {
  const clientUrls = ["http://a:1", "https://a:2"];
  assert.deepEqual(memberUrl({ clientUrls }, false), { url: "http://a:1", address: "a:1" });
  assert.deepEqual(memberUrl({ clientUrls }, true), { url: "https://a:2", address: "a:2" });
  assert.equal(memberUrl({ clientUrls: ["https://a:2"] }, false), undefined);
  assert.equal(memberUrl({ clientUrls: [] }, false), undefined);
  const error = schemeError({ name: "pd-1", clientUrls: ["https://a:2"] }, false);
  assert.equal(error.kind, "tls");
  assert.match(error.message, /"pd-1" at https:\/\/a:2: it serves with TLS/);
  assert.match(schemeError({ name: "pd-1", clientUrls: ["http://a:2"] }, true).message, /without TLS/);
});
