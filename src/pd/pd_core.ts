// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "../async/deadline.ts";
import type { ApiKeyCodec } from "../codec/keyspace.ts";
import type { Transport } from "../rpc/transport.ts";
import { ClusterState } from "./cluster_state.ts";
import { discover } from "./discovery.ts";
import { KeyspaceCalls } from "./keyspace_calls.ts";
import type { PdSettings } from "./options.ts";
import type { PdAddresses } from "./pd_address.ts";
import { PdLink } from "./pd_link.ts";
import { Tso } from "./tso.ts";

/** What a PD client is made of. */
export interface PdParts {
  readonly endpoints: PdAddresses;
  readonly settings: PdSettings;
  readonly transport: Transport;
  readonly keys?: ApiKeyCodec | undefined;
  /** Runs last when the client closes, and when it cannot be opened. */
  readonly onClose?: (() => Promise<void> | undefined) | undefined;
}

/** What all views of one PD client share. */
export interface PdCore {
  readonly settings: PdSettings;
  readonly link: PdLink;
  readonly tso: Tso;
  readonly state: ClusterState;
  readonly keyspaces: KeyspaceCalls;
  /** What this PD was found to have. */
  readonly support: { hasBatchScan: boolean };
  close(): Promise<void>;
}

/** Finds the leader of PD; everything else waits for its first use. */
export async function openPdCore(parts: PdParts, deadline: Deadline): Promise<PdCore> {
  const { settings, endpoints, transport } = parts;
  const isTls = endpoints.isTls ?? settings.tls !== undefined;
  if (!isTls && settings.tls !== undefined) {
    await parts.onClose?.();
    throw new TypeError('Cannot use "tls" with http:// addresses of PD: expected https:// or no scheme');
  }
  const link = new PdLink({
    endpoints,
    isTls,
    transport,
    controlTransport: settings.pd.controlTransport,
    environment: settings.environment,
    observe: settings.observe,
    maxResponseBytes: settings.maxResponseBytes,
    pdTimeoutMs: settings.pdTimeoutMs,
    allowFollowers: settings.pd.allowFollowers,
    allowForwarding: settings.pd.allowForwarding,
  });
  const operation = link.operation("connect", deadline);
  try {
    deadline.throwIfOver("connect to PD");
    link.members.start(await discover(link.members, operation, settings.expectClusterId));
  } catch (error) {
    link.close();
    await parts.onClose?.();
    throw operation.fail(error);
  }
  const tso = new Tso(link, settings.pd.tsoBatchWaitMs);
  let closing: Promise<void> | undefined;
  return {
    settings,
    link,
    tso,
    state: new ClusterState(link, tso),
    keyspaces: new KeyspaceCalls(link),
    support: { hasBatchScan: true },
    close: () =>
      closing ??= (async () => {
        // PD-020: first those who wait, then what they waited for.
        tso.close();
        link.close();
        await parts.onClose?.();
      })(),
  };
}
