// SPDX-License-Identifier: Apache-2.0
// FarmHash's 64-bit fingerprint, by which TiKV and its clients name a key in a deadlock. The
// function is fixed for ever (that is what makes it a fingerprint); tests pin it by its values.

const K0 = 0xc3a5c85c97cb3127n;
const K1 = 0xb492b66fbe98f273n;
const K2 = 0x9ae16a3b2f90404fn;

interface Pair {
  readonly a: bigint;
  readonly b: bigint;
}

/** The fingerprint of some bytes. */
export function farmFingerprint64(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { length } = bytes;
  if (length <= 16) return upTo16(bytes, view);
  if (length <= 32) return upTo32(view);
  return length <= 64 ? upTo64(view) : longer(view);
}

function upTo16(bytes: Uint8Array, view: DataView): bigint {
  const { length } = bytes;
  const size = BigInt(length);
  if (length >= 8) {
    const mul = wrap(K2 + size * 2n);
    const a = wrap(word(view, 0) + K2);
    const b = word(view, length - 8);
    const c = wrap(rotate(b, 37n) * mul + a);
    const d = wrap((rotate(a, 25n) + b) * mul);
    return mix(c, d, mul);
  }
  if (length >= 4) {
    const mul = wrap(K2 + size * 2n);
    return mix(wrap(size + (half(view, 0) << 3n)), half(view, length - 4), mul);
  }
  if (length === 0) return K2;
  const first = BigInt(bytes[0] ?? 0);
  const middle = BigInt(bytes[length >> 1] ?? 0);
  const last = BigInt(bytes[length - 1] ?? 0);
  const y = first + (middle << 8n);
  const z = size + (last << 2n);
  return wrap(shiftMix(wrap(y * K2) ^ wrap(z * K0)) * K2);
}

function upTo32(view: DataView): bigint {
  const { byteLength } = view;
  const mul = wrap(K2 + BigInt(byteLength) * 2n);
  const a = wrap(word(view, 0) * K1);
  const b = word(view, 8);
  const c = wrap(word(view, byteLength - 8) * mul);
  const d = wrap(word(view, byteLength - 16) * K2);
  return mix(
    wrap(rotate(wrap(a + b), 43n) + rotate(c, 30n) + d),
    wrap(a + rotate(wrap(b + K2), 18n) + c),
    mul,
  );
}

function upTo64(view: DataView): bigint {
  const { byteLength } = view;
  const mul = wrap(K2 + BigInt(byteLength) * 2n);
  const a = wrap(word(view, 0) * K2);
  const b = word(view, 8);
  const c = wrap(word(view, byteLength - 8) * mul);
  const d = wrap(word(view, byteLength - 16) * K2);
  const y = wrap(rotate(wrap(a + b), 43n) + rotate(c, 30n) + d);
  const z = mix(y, wrap(a + rotate(wrap(b + K2), 18n) + c), mul);
  const e = wrap(word(view, 16) * mul);
  const f = word(view, 24);
  const g = wrap((y + word(view, byteLength - 32)) * mul);
  const h = wrap((z + word(view, byteLength - 24)) * mul);
  return mix(
    wrap(rotate(wrap(e + f), 43n) + rotate(g, 30n) + h),
    wrap(e + rotate(wrap(f + a), 18n) + g),
    mul,
  );
}

function longer(view: DataView): bigint {
  const { byteLength } = view;
  const seed = 81n;
  let x = seed;
  let y = wrap(seed * K1 + 113n);
  let z = wrap(shiftMix(wrap(y * K2 + 113n)) * K2);
  let v: Pair = { a: 0n, b: 0n };
  let w: Pair = { a: 0n, b: 0n };
  x = wrap(x * K2 + word(view, 0));
  const end = ((byteLength - 1) >> 6) << 6;
  const last = byteLength - 64;
  for (let at = 0; at < end; at += 64) {
    x = wrap(rotate(wrap(x + y + v.a + word(view, at + 8)), 37n) * K1);
    y = wrap(rotate(wrap(y + v.b + word(view, at + 48)), 42n) * K1);
    x ^= w.b;
    y = wrap(y + v.a + word(view, at + 40));
    z = wrap(rotate(wrap(z + w.a), 33n) * K1);
    v = weak32(view, at, wrap(v.b * K1), wrap(x + w.a));
    w = weak32(view, at + 32, wrap(z + w.b), wrap(y + word(view, at + 16)));
    [z, x] = [x, z];
  }
  const mul = wrap(K1 + ((z & 0xffn) << 1n));
  w = { a: wrap(w.a + BigInt((byteLength - 1) & 63)), b: w.b };
  v = { a: wrap(v.a + w.a), b: v.b };
  w = { a: wrap(w.a + v.a), b: w.b };
  x = wrap(rotate(wrap(x + y + v.a + word(view, last + 8)), 37n) * mul);
  y = wrap(rotate(wrap(y + v.b + word(view, last + 48)), 42n) * mul);
  x ^= wrap(w.b * 9n);
  y = wrap(y + v.a * 9n + word(view, last + 40));
  z = wrap(rotate(wrap(z + w.a), 33n) * mul);
  v = weak32(view, last, wrap(v.b * mul), wrap(x + w.a));
  w = weak32(view, last + 32, wrap(z + w.b), wrap(y + word(view, last + 16)));
  [z, x] = [x, z];
  return mix(
    wrap(mix(v.a, w.a, mul) + shiftMix(y) * K0 + z),
    wrap(mix(v.b, w.b, mul) + x),
    mul,
  );
}

function weak32(view: DataView, at: number, seedA: bigint, seedB: bigint): Pair {
  const z = word(view, at + 24);
  let a = wrap(seedA + word(view, at));
  let b = rotate(wrap(seedB + a + z), 21n);
  const c = a;
  a = wrap(a + word(view, at + 8) + word(view, at + 16));
  b = wrap(b + rotate(a, 44n));
  return { a: wrap(a + z), b: wrap(b + c) };
}

function mix(u: bigint, v: bigint, mul: bigint): bigint {
  const a = shiftMix(wrap((u ^ v) * mul));
  return wrap(shiftMix(wrap((v ^ a) * mul)) * mul);
}

function shiftMix(value: bigint): bigint {
  return value ^ (value >> 47n);
}

function rotate(value: bigint, bits: bigint): bigint {
  return wrap((wrap(value) >> bits) | (wrap(value) << (64n - bits)));
}

function wrap(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

function word(view: DataView, at: number): bigint {
  return view.getBigUint64(at, true);
}

function half(view: DataView, at: number): bigint {
  return BigInt(view.getUint32(at, true));
}
