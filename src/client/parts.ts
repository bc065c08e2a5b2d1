// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "../async/deadline.ts";
import { type ApiKeyCodec, v1Codec, v1TtlCodec, v2Codec } from "../codec/keyspace.ts";
import { TikvError } from "../errors.ts";
import { pdSettingsOf } from "../pd/options.ts";
import { parsePdAddresses } from "../pd/pd_address.ts";
import { openPd, type Pd } from "../pd/pd_client.ts";
import type { StoreTargets } from "../plan/plan.ts";
import type { Session } from "../plan/session.ts";
import { createStoreTargets } from "../plan/store_targets.ts";
import { RegionCache } from "../region/region_cache.ts";
import { RegionLoader } from "../region/region_loader.ts";
import { RegionSender } from "../region/send.ts";
import { StoreCache } from "../region/store_cache.ts";
import { createApiCodec } from "../rpc/api_codec.ts";
import { transportOfSettings } from "../rpc/http2/settings_transport.ts";
import { StoreClient } from "../rpc/store_client.ts";
import type { Transport } from "../rpc/transport.ts";
import type { Settings } from "../settings.ts";
import type { Liveness } from "./health.ts";

/** What a client is made of. */
export interface ClientParts {
  readonly session: Session;
  readonly pd: Pd;
  readonly regions: RegionCache;
  readonly storeTargets: StoreTargets;
  /** Asks the server at an address whether it is alive. */
  readonly probe: (address: string, deadline: Deadline) => Promise<Liveness>;
  /** Ends all of it. Idempotent. */
  close(): Promise<void>;
}

/** What a client is made with. */
export interface AssembleOptions {
  readonly endpoints: readonly string[];
  readonly settings: Settings;
  /** Not closed with the client. Without one the client makes its own. */
  readonly transport: Transport | undefined;
}

/** Connects to PD and makes the layers of a client. What fails leaves nothing behind. */
export async function assemble(options: AssembleOptions, deadline: Deadline): Promise<ClientParts> {
  const { settings } = options;
  const endpoints = parsePdAddresses(options.endpoints);
  const own = options.transport === undefined
    ? transportOfSettings(settings, endpoints.isTls ?? settings.tls !== undefined)
    : undefined;
  const transport = options.transport ?? own as Transport;
  const pd = await openPd({
    endpoints,
    settings: pdSettingsOf(settings),
    transport,
    onClose: () => own?.close(),
  }, deadline);
  try {
    const keyspace = await lookUpKeyspace(settings, pd, deadline);
    return layersOf(settings, { pd, transport, keyspace });
  } catch (error) {
    await pd.close();
    throw error;
  }
}

interface Keyspace {
  readonly id: number;
  readonly name: string;
}

async function lookUpKeyspace(settings: Settings, pd: Pd, deadline: Deadline): Promise<Keyspace | undefined> {
  if (settings.keyspace === undefined) return undefined;
  deadline.throwIfOver("look up the keyspace");
  const options = { timeoutMs: deadline.remainingMs(), signal: deadline.signal };
  return await pd.keyspaces.getEnabled(settings.keyspace, options);
}

function keysOf(settings: Settings, keyspace: Keyspace | undefined): ApiKeyCodec {
  if (keyspace !== undefined) return v2Codec("raw", keyspace.id);
  return settings.apiVersion === "v1ttl" ? v1TtlCodec() : v1Codec("raw");
}

function layersOf(
  settings: Settings,
  { pd: pdOfAll, transport, keyspace }: {
    readonly pd: Pd;
    readonly transport: Transport;
    readonly keyspace: Keyspace | undefined;
  },
): ClientParts {
  const { environment, observe } = settings;
  const keys = keysOf(settings, keyspace);
  const api = createApiCodec(keys, keyspace?.name);
  const pd = pdOfAll.with({ keys });
  const meta = pd.meta();
  const client = new StoreClient({
    transport,
    environment,
    settings,
    observer: observe,
    interceptors: settings.interceptors,
  });
  const probe = (address: string, until: Deadline): Promise<Liveness> => client.probe(address, until);
  const closeAddress = (address: string): void => client.closeAddress(address);
  const stores = new StoreCache({ meta, environment, settings, observe, probe, closeAddress });
  const loader = new RegionLoader({ meta, stores, environment, settings, observe });
  const regions = new RegionCache({ loader, environment, settings, observe });
  const sender = new RegionSender({
    client,
    regions,
    stores,
    loader,
    api,
    settings,
    clusterId: pd.clusterId,
  });
  const closing = new AbortController();
  const session: Session = {
    routing: { regions, sender, concurrency: settings.maxConcurrentParts },
    settings,
    closing: closing.signal,
  };
  let closed: Promise<void> | undefined;
  return {
    session,
    pd,
    regions,
    probe,
    storeTargets: createStoreTargets({
      client,
      api,
      clusterId: pd.clusterId,
      attemptTimeoutMs: settings.longAttemptTimeoutMs,
      stores: ({ deadline }) => meta.stores({ deadline }),
    }),
    close: () =>
      closed ??= (async () => {
        // From the top: first those who wait, then what works in the background, then what both
        // are built on. PD goes last, and takes the client's own transport along.
        closing.abort(new TikvError("closed", "Cannot go on: the client was closed"));
        client.close();
        regions.close();
        await stores.close();
        await pd.close();
      })(),
  };
}
