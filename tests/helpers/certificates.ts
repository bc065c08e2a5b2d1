// SPDX-License-Identifier: Apache-2.0
// Certificates for TLS tests, made when the test runs: nothing expires in the repository, and no
// openssl is needed. X.509 v3 (RFC 5280) in DER, signed with ECDSA over P-256.

import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** A certificate and its key as PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

/** What a certificate is issued for. */
export interface IssueOptions {
  readonly commonName?: string;
  readonly dnsNames?: readonly string[];
  /** IPv4 addresses. */
  readonly ips?: readonly string[];
  /** Made to have ended already. */
  readonly isExpired?: boolean;
}

/** An authority that signs certificates. */
export interface Authority {
  /** Its own certificate as PEM. */
  readonly cert: string;
  issue(options?: IssueOptions): Identity;
}

/** Makes an authority with a fresh key. */
export function createAuthority(commonName: string = "Test CA"): Authority {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const name = nameOf(commonName);
  const caExtensions = [
    extension("2.5.29.19", true, sequence(tlv(0x01, Uint8Array.of(0xff)))), // basicConstraints: CA
    extension("2.5.29.15", true, tlv(0x03, Uint8Array.of(0x01, 0x06))), // keyCertSign, cRLSign
  ];
  return {
    cert: pem("CERTIFICATE", certificate(name, name, pair.publicKey, pair.privateKey, caExtensions, false)),
    issue(options: IssueOptions = {}): Identity {
      const own = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const subject = nameOf(options.commonName ?? "test");
      const names = [
        ...(options.dnsNames ?? []).map((dns) => tlv(0x82, text(dns))),
        ...(options.ips ?? []).map((ip) => tlv(0x87, Uint8Array.from(ip.split("."), Number))),
      ];
      const extensions = [
        extension("2.5.29.15", true, tlv(0x03, Uint8Array.of(0x07, 0x80))), // digitalSignature
        extension("2.5.29.37", false, sequence(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2"))),
        ...(names.length > 0 ? [extension("2.5.29.17", false, sequence(...names))] : []),
      ];
      const der = certificate(
        name,
        subject,
        own.publicKey,
        pair.privateKey,
        extensions,
        options.isExpired === true,
      );
      return {
        cert: pem("CERTIFICATE", der),
        key: own.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      };
    },
  };
}

function certificate(
  issuer: Uint8Array,
  subject: Uint8Array,
  subjectKey: KeyObject,
  issuerKey: KeyObject,
  extensions: readonly Uint8Array[],
  isExpired: boolean,
): Uint8Array {
  const algorithm = sequence(oid("1.2.840.10045.4.3.2")); // ecdsa-with-SHA256
  const serial = crypto.getRandomValues(new Uint8Array(9));
  serial[0] = 1; // positive, and no leading zero
  const year = new Date().getUTCFullYear();
  const body = sequence(
    tlv(0xa0, tlv(0x02, Uint8Array.of(2))), // version 3
    tlv(0x02, serial),
    algorithm,
    issuer,
    sequence(time(year - 2), time(isExpired ? year - 1 : year + 10)),
    subject,
    new Uint8Array(subjectKey.export({ type: "spki", format: "der" })),
    tlv(0xa3, sequence(...extensions)),
  );
  const signature = new Uint8Array(sign("sha256", body, issuerKey));
  return sequence(body, algorithm, tlv(0x03, concat([Uint8Array.of(0), signature])));
}

function nameOf(commonName: string): Uint8Array {
  return sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0c, text(commonName)))));
}

function extension(id: string, isCritical: boolean, value: Uint8Array): Uint8Array {
  const critical = isCritical ? [tlv(0x01, Uint8Array.of(0xff))] : [];
  return sequence(oid(id), ...critical, tlv(0x04, value));
}

/** GeneralizedTime at the start of a year; UTCTime up to 2049, as RFC 5280 4.1.2.5 wants it. */
function time(year: number): Uint8Array {
  return year < 2050 ? tlv(0x17, text(`${year % 100}0101000000Z`)) : tlv(0x18, text(`${year}0101000000Z`));
}

function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Uint8Array.from(bytes));
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tlv(0x30, concat(parts));
}

function tlv(tag: number, value: Uint8Array): Uint8Array {
  const { length } = value;
  const size = length < 0x80
    ? [length]
    : length < 0x100
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff];
  return concat([Uint8Array.of(tag, ...size), value]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function pem(label: string, der: Uint8Array): string {
  const base64 = btoa(String.fromCharCode(...der));
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
