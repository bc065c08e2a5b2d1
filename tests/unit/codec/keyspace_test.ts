// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { concatBytes, EMPTY } from "../../../src/bytes/concat.ts";
import { hex, parseHex } from "../../../src/bytes/hex.ts";
import { contains, isEmptyRange, type KeyRange } from "../../../src/bytes/key_range.ts";
import { decodeBytes, encodeBytes } from "../../../src/bytes/memcomparable.ts";
import {
  type ApiKeyCodec,
  DEFAULT_KEYSPACE_ID,
  keyspaceNameOf,
  NULL_KEYSPACE_ID,
  parseKeyspaceId,
  splitKey,
  v1Codec,
  v1ExcludedPrefixes,
  v1TtlCodec,
  v2Codec,
  v2Prefixes,
} from "../../../src/codec/keyspace.ts";
import { keys } from "../../helpers/arbitrary_keys.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const b = parseHex;
const range = (start: string, end: string): KeyRange => ({ start: b(start), end: b(end) });
const hexRange = (r: KeyRange | undefined) => r === undefined ? undefined : [hex(r.start), hex(r.end)];

// Keyspace 0x010203, txn: all keys from 78010203 up to 78010204.
const txn = v2Codec("txn", 0x010203);
const raw = v2Codec("raw", 0);

const ALL: readonly ApiKeyCodec[] = [
  v1Codec("raw"),
  v1Codec("txn"),
  v1TtlCodec(),
  raw,
  txn,
  v2Codec("raw", 0xffffff),
  v2Codec("txn", 0xffffff),
];
const V2: readonly ApiKeyCodec[] = ALL.filter((codec) => codec.apiVersion === "v2");

const ranges = () => fc.record({ start: keys(3), end: keys(3) }, { noNullPrototype: true });

test("[KS-001] each codec says its API version, mode and keyspace", () => {
  assert.deepEqual(ALL.map((codec) => [codec.apiVersion, codec.mode, codec.keyspaceId]), [
    ["v1", "raw", NULL_KEYSPACE_ID],
    ["v1", "txn", NULL_KEYSPACE_ID],
    ["v1ttl", "raw", NULL_KEYSPACE_ID],
    ["v2", "raw", 0],
    ["v2", "txn", 0x010203],
    ["v2", "raw", 0xffffff],
    ["v2", "txn", 0xffffff],
  ]);
  assert.equal(NULL_KEYSPACE_ID, 0xffffffff);
});

test("[KS-001] keys, ranges, region keys and region ranges come back as they were", () => {
  fc.assert(
    fc.property(fc.constantFrom(...ALL), keys(), ranges(), (codec, key, r) => {
      // V2 strips an empty field to itself; a region key of it is the first key of the keyspace.
      assert.deepEqual(codec.decodeKey(codec.encodeKey(key)), key);
      assert.deepEqual(codec.decodeRegionKey(codec.encodeRegionKey(key)), key);
      if (isEmptyRange(r)) return;
      assert.deepEqual(codec.decodeRange(codec.encodeRange(r)), r);
      assert.deepEqual(codec.decodeRegionRange(codec.encodeRegionRange(r)), r);
    }),
    { numRuns: 500 },
  );
});

test("[KS-001] encoded keys and region keys keep their order", () => {
  fc.assert(fc.property(fc.constantFrom(...ALL), keys(), keys(), (codec, left, right) => {
    const order = Math.sign(compareBytes(left, right));
    assert.equal(Math.sign(compareBytes(codec.encodeKey(left), codec.encodeKey(right))), order);
    assert.equal(Math.sign(compareBytes(codec.encodeRegionKey(left), codec.encodeRegionKey(right))), order);
  }));
});

test("[KS-002] V1 raw leaves all keys and ranges as they are", () => {
  for (const codec of [v1Codec("raw"), v1TtlCodec()]) {
    const key = b("010203");
    for (const same of ["encodeKey", "decodeKey", "encodeRegionKey", "decodeRegionKey"] as const) {
      assert.deepEqual(codec[same](key), key);
      assert.deepEqual(codec[same](EMPTY), EMPTY);
    }
    for (const same of ["encodeRange", "decodeRange", "encodeRegionRange", "decodeRegionRange"] as const) {
      assert.deepEqual(codec[same](range("01", "")), range("01", ""));
    }
  }
});

test("[KS-002] V1 txn has plain keys in requests and memcomparable keys at region borders", () => {
  const codec = v1Codec("txn");
  assert.deepEqual(codec.encodeKey(b("01")), b("01"));
  assert.deepEqual(codec.encodeRange(range("01", "")), range("01", ""));
  assert.equal(hex(codec.encodeRegionKey(b("01"))), "0100000000000000f8");
  assert.deepEqual(hexRange(codec.encodeRegionRange(range("", ""))), ["0000000000000000f7", ""]);
  assert.deepEqual(hexRange(codec.encodeRegionRange(range("01", "02"))), [
    "0100000000000000f8",
    "0200000000000000f8",
  ]);
  assert.deepEqual(codec.decodeRegionRange(range("", "")), range("", ""));
  assert.deepEqual(codec.decodeRegionRange(range("", "0100000000000000f8")), range("", "01"));
  throwsKind(() => codec.decodeRegionRange(range("01", "")), "codec");
  throwsKind(() => codec.decodeRegionRange(range("", "01")), "codec");
  throwsKind(() => codec.decodeRegionKey(b("01")), "codec");
});

test("[KS-003] the V2 prefix is the mode and 24 bits of keyspace, and ends one after, with carry", () => {
  const rows: readonly (readonly [codec: ApiKeyCodec, first: string, end: string])[] = [
    [v2Codec("raw", 0), "72000000", "72000001"],
    [v2Codec("raw", 0xff), "720000ff", "72000100"],
    [v2Codec("raw", 0xffffff), "72ffffff", "73000000"],
    [v2Codec("txn", 0x010203), "78010203", "78010204"],
    [v2Codec("txn", 0xffffff), "78ffffff", "79000000"],
  ];
  for (const [codec, first, end] of rows) {
    assert.deepEqual(hexRange(codec.encodeRange(range("", ""))), [first, end]);
    assert.equal(hex(codec.encodeKey(b("6b"))), `${first}6b`);
  }
});

test("[KS-003] a keyspace id that does not fit 24 bits is a RangeError", () => {
  for (const id of [-1, 0x1000000, NULL_KEYSPACE_ID, 1.5, NaN, Infinity]) {
    assert.throws(() => v2Codec("raw", id), RangeError);
    assert.throws(() => v2Codec("txn", id), RangeError);
  }
});

test("[KS-003] an empty keyspace name is the default keyspace", () => {
  assert.equal(keyspaceNameOf(""), "DEFAULT");
  assert.equal(keyspaceNameOf("orders"), "orders");
  assert.equal(DEFAULT_KEYSPACE_ID, 0);
});

test("[KS-003] encoded keys never share memory with each other, the key or the codec", () => {
  const key = b("6b");
  const first = txn.encodeKey(key);
  const end = txn.encodeRange(range("", "")).end;
  first.fill(0xff);
  end.fill(0xff);
  assert.equal(hex(txn.encodeKey(key)), "780102036b");
  assert.equal(hex(txn.encodeRange(range("", "")).end), "78010204");
  assert.deepEqual(key, b("6b"));
});

test("[KS-004] a key of another keyspace or mode is a codec error that shows no key", () => {
  for (const foreign of ["780102046b", "780102026b", "720102036b", "780102", "78", "6b"]) {
    const error = throwsKind(() => txn.decodeKey(b(foreign)), "codec");
    assert.equal(error.message.includes(foreign), false);
    throwsKind(() => txn.decodeRegionKey(encodeBytes(b(foreign))), "codec");
  }
});

test("[KS-004] an empty key is a field that was not set, and stays empty", () => {
  for (const codec of ALL) assert.deepEqual(codec.decodeKey(EMPTY), EMPTY);
});

test("[KS-005] V2 region keys are memcomparable with the prefix, for raw data too", () => {
  for (const codec of V2) {
    const whole = codec.encodeRange(range("", ""));
    fc.assert(fc.property(keys(), (key) => {
      assert.deepEqual(codec.encodeRegionKey(key), encodeBytes(codec.encodeKey(key)));
    }));
    assert.deepEqual(codec.encodeRegionRange(range("", "")), {
      start: encodeBytes(whole.start),
      end: encodeBytes(whole.end),
    });
  }
  assert.equal(hex(raw.encodeRegionKey(b("6b"))), "720000006b000000fc");
  assert.deepEqual(hexRange(raw.encodeRegionRange(range("", "6b"))), [
    "7200000000000000fb",
    "720000006b000000fc",
  ]);
});

test("[KS-006] decodeRegionRange() strips borders in the keyspace and clamps those outside", () => {
  const at = (key: string) => key === "" ? "" : hex(encodeBytes(b(key)));
  const rows: readonly (readonly [start: string, end: string, decoded: readonly string[] | undefined])[] = [
    ["", "", ["", ""]],
    ["780102036b", "780102036c", ["6b", "6c"]],
    ["78010203", "78010204", ["", ""]],
    ["78010202ff", "780102036b", ["", "6b"]],
    ["780102036b", "7801020400", ["6b", ""]],
    ["780102036b", "", ["6b", ""]],
    ["72", "79", ["", ""]],
    ["", "7801020300", ["", "00"]],
    // Outside: before it, up to its first key; after it, from its end on.
    ["", "78010203", undefined],
    ["78010202", "7801020265", undefined],
    ["78010204", "", undefined],
    ["7801020400", "79", undefined],
  ];
  for (const [start, end, decoded] of rows) {
    assert.deepEqual(
      hexRange(txn.decodeRegionRange(range(at(start), at(end)))),
      decoded,
      `${start} to ${end}`,
    );
    assert.deepEqual(hexRange(txn.decodeRange(range(start, end))), decoded, `${start} to ${end}`);
  }
});

test("[KS-006] decodeRange() has exactly the user's keys whose stored form is in the range", () => {
  const near = () =>
    fc.constantFrom("", "78010202", "7801020200", "78010203", "7801020300", "7801020361", "78010204", "79");
  fc.assert(
    fc.property(near(), near(), keys(2), (start, end, key) => {
      const stored = range(start, end);
      if (isEmptyRange(stored)) return;
      const decoded = txn.decodeRange(stored);
      assert.equal(decoded !== undefined && contains(decoded, key), contains(stored, txn.encodeKey(key)));
    }),
    { numRuns: 1000 },
  );
});

test("[KS-006] malformed region borders are a codec error", () => {
  for (const codec of V2) {
    for (const bad of ["78010203", "78010203000000fb", "ffffffffffffffffff", "7801020300000001fb"]) {
      throwsKind(() => codec.decodeRegionRange(range(bad, "")), "codec");
      throwsKind(() => codec.decodeRegionRange(range("", bad)), "codec");
      throwsKind(() => codec.decodeRegionKey(b(bad)), "codec");
    }
  }
});

test("[KS-010] decodeBucketKeys() clamps the outer borders, strips the inner ones and drops the rest", () => {
  const decode = (...borders: string[]) =>
    txn.decodeBucketKeys(borders.map((key) => key === "" ? EMPTY : encodeBytes(b(key)))).map(hex);
  assert.deepEqual(decode("78010203", "7801020361", "7801020362", "78010204"), ["", "61", "62", ""]);
  assert.deepEqual(decode("", "7801020361", ""), ["", "61", ""]);
  assert.deepEqual(decode("78010202", "7801020361", "7801020500"), ["", "61", ""]);
  // Borders of other keyspaces in the middle are none of ours.
  assert.deepEqual(decode("7200", "78010202", "7801020361", "78010205", "79"), ["", "61", ""]);
  // The first key of the keyspace is not there twice, however many borders are before it.
  assert.deepEqual(decode("78010202", "78010203", "7801020361", ""), ["", "61", ""]);
  assert.deepEqual(decode("7801020361", "7801020362"), ["61", "62"]);
  assert.deepEqual(decode("7801020361", "7801020362", ""), ["61", "62", ""]);
  assert.deepEqual(decode(), []);
  throwsKind(() => txn.decodeBucketKeys([b("01")]), "codec");
});

test("[KS-010] V1 decodes each bucket border as a region key", () => {
  const borders = ["", "61", "62", ""].map(b);
  const encoded = borders.map((key) => key.length === 0 ? EMPTY : encodeBytes(key));
  assert.deepEqual(v1Codec("txn").decodeBucketKeys(encoded), borders);
  assert.deepEqual(v1Codec("raw").decodeBucketKeys(borders), borders);
  throwsKind(() => v1Codec("txn").decodeBucketKeys([b("61")]), "codec");
});

test("[KS-011] parseKeyspaceId() reads the keyspace of a V2 key", () => {
  assert.equal(parseKeyspaceId(b("7801020361")), 0x010203);
  assert.equal(parseKeyspaceId(b("72ffffff")), 0xffffff);
  assert.equal(parseKeyspaceId(b("72000000")), 0);
  for (const bad of ["", "72", "720000", "73000000", "00000000", "6d000000"]) {
    throwsKind(() => parseKeyspaceId(b(bad)), "codec");
  }
});

test("[KS-011] the prefixes of V2 are the mode bytes in order, and V1 must not use them", () => {
  assert.deepEqual(v2Prefixes().map(hex), ["72", "78"]);
  assert.deepEqual(v1ExcludedPrefixes().map(hex), ["72", "78"]);
  v2Prefixes()[0]?.fill(0);
  assert.deepEqual(v2Prefixes().map(hex), ["72", "78"]);
});

test("[KS-011] splitKey() parts prefix and key by API version", () => {
  const parts = (digits: string, version: ApiKeyCodec["apiVersion"]) => {
    const { prefix, key } = splitKey(b(digits), version);
    return [hex(prefix), hex(key)];
  };
  assert.deepEqual(parts("7801020361", "v2"), ["78010203", "61"]);
  assert.deepEqual(parts("78010203", "v2"), ["78010203", ""]);
  assert.deepEqual(parts("7801020361", "v1"), ["", "7801020361"]);
  assert.deepEqual(parts("7801020361", "v1ttl"), ["", "7801020361"]);
  throwsKind(() => splitKey(b("616263"), "v2"), "codec");
});

test("[KS-015] region borders are what memcomparable makes of stored keys", () => {
  fc.assert(fc.property(fc.constantFrom(...V2), keys(), (codec, key) => {
    assert.deepEqual(decodeBytes(codec.encodeRegionKey(key)), concatBytes(codec.encodeKey(EMPTY), key));
  }));
});
