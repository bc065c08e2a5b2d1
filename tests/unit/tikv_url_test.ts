// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { splitTikvUrl } from "../../src/tikv_url.ts";

test("[CFG-034] splitTikvUrl() takes the options off a tikv:// URL and leaves the rest", () => {
  assert.deepEqual(splitTikvUrl("TiKV://a:1,b:2?disableGC=false&keyspaceName=x"), {
    endpoints: "TiKV://a:1,b:2",
    keyspace: "x",
  });
  assert.deepEqual(splitTikvUrl("tikv://a:1?keyspace=y"), { endpoints: "tikv://a:1", keyspace: "y" });
  assert.deepEqual(splitTikvUrl("http://a:1"), { endpoints: "http://a:1", keyspace: undefined });
});

test("[CFG-034] splitTikvUrl() refuses options that mean nothing", () => {
  assert.throws(() => splitTikvUrl("http://a:1?keyspace=x"), RangeError);
  assert.throws(() => splitTikvUrl("tikv://a:1?disableGC=maybe"), RangeError);
  assert.throws(() => splitTikvUrl("tikv://a:1?keyspace="), RangeError);
  assert.throws(() => splitTikvUrl("tikv://a:1?keyspce=x"), /did you mean "keyspace"/);
});
