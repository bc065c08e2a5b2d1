// SPDX-License-Identifier: Apache-2.0
// Certificates for both sides of mutual TLS: client-go reads its own from a folder.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAuthority, type Identity } from "../helpers/certificates.ts";

/** What both sides need; disposing of it removes the folder. */
export interface Identities extends AsyncDisposable {
  readonly server: Identity & { readonly ca: string };
  readonly client: Identity & { readonly ca: string };
  /** Has the client's as `ca.pem`, `cert.pem` and `key.pem`. */
  readonly folder: string;
}

/** Makes an authority and a certificate of it for each side. */
export async function writeIdentities(): Promise<Identities> {
  const authority = createAuthority("Interop CA");
  const ca = authority.cert;
  const client = { ...authority.issue({ commonName: "client" }), ca };
  const folder = await mkdtemp(join(tmpdir(), "tikv-interop-"));
  for (const [name, text] of Object.entries(client)) await writeFile(join(folder, `${name}.pem`), text);
  return {
    server: { ...authority.issue({ ips: ["127.0.0.1"] }), ca },
    client,
    folder,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
