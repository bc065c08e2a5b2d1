// SPDX-License-Identifier: Apache-2.0

import net from "node:net";
import type { ConnectionOptions } from "node:tls";
import { codeOf, ConnectionLost } from "./connection_lost.ts";
import type { DialTarget } from "./dial.ts";

/** PEM material of one connection, as text or as bytes. */
export interface TlsMaterial {
  /** Certificates that are trusted; those of the runtime when absent. */
  readonly ca?: string | Uint8Array | undefined;
  /** The client's certificate chain; needs `key`. */
  readonly cert?: string | Uint8Array | undefined;
  /** The client's private key; needs `cert`. */
  readonly key?: string | Uint8Array | undefined;
  /** Name that every server's certificate must carry, instead of the host that is dialled. */
  readonly serverName?: string | undefined;
  /** Takes any certificate. Only for a look at a broken set-up. */
  readonly dangerouslyDisableVerification?: boolean | undefined;
}

/** How connections are encrypted. */
export interface TlsOptions extends TlsMaterial {
  /**
   * Called for each new connection; what it returns replaces the material above, field by field.
   * Certificates that are renewed on disk, CA included, are so picked up without a restart.
   */
  readonly reload?: (() => TlsMaterial | Promise<TlsMaterial>) | undefined;
}

/** Throws a `TypeError` for material that cannot work. */
export function assertTlsMaterial(material: TlsMaterial): void {
  for (const name of ["ca", "cert", "key"] as const) {
    const value = material[name];
    if (value !== undefined && typeof value !== "string" && !(value instanceof Uint8Array)) {
      throw new TypeError(`Cannot use the TLS options: "${name}" is neither PEM text nor bytes`);
    }
    if (value !== undefined && !textOf(value).includes("-----BEGIN ")) {
      throw new TypeError(
        `Cannot use the TLS options: "${name}" is not PEM; give the contents of the file, not its path`,
      );
    }
  }
  if (material.cert !== undefined && material.key === undefined) {
    throw new TypeError('Cannot use the TLS options: "cert" was given without "key"');
  }
  if (material.key !== undefined && material.cert === undefined) {
    throw new TypeError('Cannot use the TLS options: "key" was given without "cert"');
  }
}

/** The material for the next connection: the fixed one, or a freshly loaded one. */
export function loadTlsMaterial(options: TlsOptions): TlsMaterial | Promise<TlsMaterial> {
  const { reload, ...fixed } = options;
  if (reload === undefined) return fixed;
  return loadAgain(fixed, reload);
}

async function loadAgain(
  fixed: TlsMaterial,
  reload: () => TlsMaterial | Promise<TlsMaterial>,
): Promise<TlsMaterial> {
  let material: TlsMaterial;
  try {
    material = { ...fixed, ...await reload() };
    assertTlsMaterial(material);
  } catch (error) {
    throw new ConnectionLost("the TLS material could not be reloaded", { cause: error, isTlsFailure: true });
  }
  return material;
}

/** What `tls.connect` is given. */
export function tlsConnectOptions(target: DialTarget, material: TlsMaterial): ConnectionOptions {
  const name = material.serverName ?? target.serverName;
  const options: ConnectionOptions = {
    host: target.host,
    port: target.port,
    ALPNProtocols: ["h2"],
    rejectUnauthorized: material.dangerouslyDisableVerification !== true,
  };
  if (material.ca !== undefined) options.ca = textOf(material.ca);
  if (material.cert !== undefined) options.cert = textOf(material.cert);
  if (material.key !== undefined) options.key = textOf(material.key);
  // RFC 6066 3: an IP address is not a server name.
  if (name !== undefined) options.servername = name;
  else if (net.isIP(target.host) === 0) options.servername = target.host;
  return options;
}

/** Says which side refused the handshake and what to look at. */
export function describeTlsFailure(
  error: unknown,
  target: DialTarget,
  material: TlsMaterial,
): ConnectionLost {
  const code = codeOf(error);
  const text = error instanceof Error ? error.message : String(error);
  const name = material.serverName ?? target.serverName ?? target.host;
  const known = code === undefined ? undefined : FAILURES[code] ?? ALERTS[ALERT.exec(code)?.[1] ?? ""];
  // What OpenSSL says is for its authors; it stays in the cause.
  const seen = known === undefined ? text.trim() : known(name, error, material);
  const shown = code === undefined || seen.includes(code) ? seen : `${seen} (${code})`;
  const message = `the TLS handshake failed: ${shown}`;
  return new ConnectionLost(message, { cause: error, isTlsFailure: true });
}

type Explain = (name: string, error: unknown, material: TlsMaterial) => string;

const UNTRUSTED: Explain = (_name, _error, material) =>
  material.ca === undefined
    ? 'the client does not trust the server\'s certificate, give its CA as "ca"'
    : "the client does not trust the server's certificate, it was not issued by the given CA";

const WRONG_NAME: Explain = (name, error) =>
  `the client expects the name "${name}", and the server's certificate ${
    namesOf(error)
  }, set "serverName" to a name that it carries`;

const EXPIRED: Explain = () => "the server's certificate is not valid at this time";

const CLIENT_REFUSED: Explain = (_name, _error, material) =>
  material.cert === undefined
    ? 'the server wants a certificate of the client, give "cert" and "key"'
    : "the server refused the certificate of the client";

const NOT_TLS: Explain = () => "the server does not speak TLS on this port";

/** What the codes of OpenSSL and of the runtimes mean. */
const FAILURES: Readonly<Record<string, Explain>> = {
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_SIGNATURE_FAILURE: UNTRUSTED,
  ERR_TLS_CERT_ALTNAME_INVALID: WRONG_NAME,
  HOSTNAME_MISMATCH: WRONG_NAME,
  CERT_HAS_EXPIRED: EXPIRED,
  CERT_NOT_YET_VALID: EXPIRED,
  ERR_SSL_WRONG_VERSION_NUMBER: NOT_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NOT_TLS,
};

/**
 * Alerts are what the other side says (RFC 8446 6.2). The code of one begins differently with each
 * runtime and version of TLS, such as `ERR_SSL_TLSV1_ALERT_UNKNOWN_CA`; it always ends in its name.
 */
const ALERT = /_ALERT_([A-Z_]+)$/;

const ALERTS: Readonly<Record<string, Explain>> = {
  CERTIFICATE_REQUIRED: CLIENT_REFUSED,
  UNKNOWN_CA: CLIENT_REFUSED,
  BAD_CERTIFICATE: CLIENT_REFUSED,
  UNSUPPORTED_CERTIFICATE: CLIENT_REFUSED,
  CERTIFICATE_UNKNOWN: CLIENT_REFUSED,
  CERTIFICATE_EXPIRED: CLIENT_REFUSED,
  CERTIFICATE_REVOKED: CLIENT_REFUSED,
  ACCESS_DENIED: CLIENT_REFUSED,
  HANDSHAKE_FAILURE: () => "the server refused the handshake",
  UNRECOGNIZED_NAME: (name) => `the server does not serve the name "${name}"`,
};

/** The names in the certificate, where the runtime tells them. */
function namesOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "cert" in error) {
    const { cert } = error;
    if (typeof cert === "object" && cert !== null && "subjectaltname" in cert) {
      return `carries ${String(cert.subjectaltname)}`;
    }
  }
  return "carries another one";
}

function textOf(pem: string | Uint8Array): string {
  return typeof pem === "string" ? pem : new TextDecoder().decode(pem);
}
