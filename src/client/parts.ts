// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "../async/deadline.ts";
import { Operation } from "../async/operation.ts";
import { type ApiKeyCodec, type KeyMode, v1Codec, v1TtlCodec, v2Codec } from "../codec/keyspace.ts";
import { TikvError } from "../errors.ts";
import { pdSettingsOf } from "../pd/options.ts";
import type { PdMeta } from "../pd/meta.ts";
import { parsePdAddresses } from "../pd/pd_address.ts";
import { openPd, type Pd } from "../pd/pd_client.ts";
import type { Routing } from "../plan/dispatch.ts";
import type { StoreTargets } from "../plan/plan.ts";
import type { Session } from "../plan/session.ts";
import { createStoreTargets } from "../plan/store_targets.ts";
import { RegionCache } from "../region/region_cache.ts";
import { RegionLoader } from "../region/region_loader.ts";
import { RegionSender } from "../region/send.ts";
import { StoreCache } from "../region/store_cache.ts";
import { type ApiCodec, createApiCodec } from "../rpc/api_codec.ts";
import { transportOfSettings } from "../rpc/http2/settings_transport.ts";
import { COMMANDS } from "../rpc/commands.ts";
import { StoreClient } from "../rpc/store_client.ts";
import type { Transport } from "../rpc/transport.ts";
import type { Settings } from "../settings.ts";
import type { Liveness } from "./health.ts";
import { ModeGuard } from "./mode_guard.ts";
import { createTxnLayers, type TxnLayers } from "./txn_layers.ts";

/** What a client is made of. */
export interface ClientParts {
  /** For raw data. */
  readonly session: Session;
  /** For what is of neither kind, such as the health, with the keys of the one that is used. */
  readonly anySession: () => Session;
  /** With the keys of the kind of data that is used. */
  readonly pd: () => Pd;
  readonly clusterId: bigint;
  /** The cache of the regions of the kind of data that is used. */
  readonly regions: () => RegionCache;
  readonly storeTargets: StoreTargets;
  /** What transactions are built on, made when the first one begins. */
  readonly txn: () => TxnLayers;
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

function keysOf(settings: Settings, keyspace: Keyspace | undefined, mode: KeyMode): ApiKeyCodec {
  if (keyspace !== undefined) return v2Codec(mode, keyspace.id);
  if (settings.apiVersion !== "v1ttl") return v1Codec(mode);
  if (mode === "raw") return v1TtlCodec();
  throw new TikvError("unsupported", 'Cannot use transactions: API version "v1ttl" has raw data only');
}

/** What differs between raw data and transactions. */
interface OfMode {
  readonly pd: Pd;
  readonly routing: Routing & { readonly regions: RegionCache };
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
  const keys = keysOf(settings, keyspace, "raw");
  const api = createApiCodec(keys, keyspace?.name);
  const pd = pdOfAll.with({ keys });
  const meta = pd.meta();
  const client = new StoreClient({
    transport,
    environment,
    settings,
    observer: observe,
    interceptors: settings.interceptors,
    onHealthFeedback: (_, { storeId, slowScore }) => stores.onSlowScore(storeId, slowScore),
  });
  const probe = (address: string, until: Deadline): Promise<Liveness> => client.probe(address, until);
  const closeAddress = (address: string): void => client.closeAddress(address);
  const storeTargets = createStoreTargets({
    client,
    api,
    clusterId: pd.clusterId,
    attemptTimeoutMs: settings.longAttemptTimeoutMs,
    stores: ({ deadline }) => meta.stores({ deadline }),
  });
  const stores: StoreCache = new StoreCache({
    meta,
    environment,
    settings,
    observe,
    probe,
    closeAddress,
    askSlowness: async (store, deadline) => {
      const operation = new Operation("stores.slowness", { deadline, environment, observer: observe });
      const question = { command: COMMANDS.GetHealthFeedback, body: {} };
      return (await storeTargets.send(store, question, operation)).healthFeedback?.slowScore ?? 1;
    },
  });
  // Borders of regions look different to raw data and to transactions, so each has its own regions.
  const route = (ofMode: ApiCodec, metaOfMode: PdMeta): OfMode["routing"] => {
    const loader = new RegionLoader({ meta: metaOfMode, stores, environment, settings, observe });
    const regions = new RegionCache({ loader, environment, settings, observe });
    const { clusterId } = pd;
    const sender = new RegionSender({ client, regions, stores, loader, api: ofMode, settings, clusterId });
    return { regions, sender, concurrency: settings.maxConcurrentParts };
  };
  const routing = route(api, meta);
  const closing = new AbortController();
  const guard = new ModeGuard(settings.mode, keyspace !== undefined);
  const ofRaw: OfMode = { pd, routing };
  const session: Session = { routing, settings, closing: closing.signal, onUse: () => guard.use("raw") };
  let txn: OfMode & { readonly layers: TxnLayers } | undefined;
  const openTxn = (): NonNullable<typeof txn> => {
    const txnKeys = keysOf(settings, keyspace, "txn");
    const ofTxn = route(createApiCodec(txnKeys, keyspace?.name), pdOfAll.meta(txnKeys));
    const txnPd = pdOfAll.with({ keys: txnKeys });
    const layers = createTxnLayers({
      settings,
      pd: txnPd,
      routing: ofTxn,
      stores: {
        stores: async ({ deadline }) => {
          const all = await meta.stores({ deadline });
          return all.filter(({ state, address }) => state !== "tombstone" && address !== "");
        },
        ask: async (store, operation) => {
          const question = { command: COMMANDS.GetStoreSafeTS, body: {} };
          return (await storeTargets.send(store, question, operation)).safeTs;
        },
      },
      closing: closing.signal,
      onUse: () => guard.use("txn"),
    });
    return { layers, routing: ofTxn, pd: txnPd };
  };
  const ofMode = (): OfMode => guard.mode === "txn" ? txn ??= openTxn() : ofRaw;
  let closed: Promise<void> | undefined;
  return {
    session,
    anySession: () => ({ routing: ofMode().routing, settings, closing: closing.signal }),
    pd: () => ofMode().pd,
    clusterId: pd.clusterId,
    regions: () => ofMode().routing.regions,
    probe,
    txn: () => (txn ??= openTxn()).layers,
    storeTargets,
    close: () =>
      closed ??= (async () => {
        // From the top: first those who wait, then what works in the background, then what both
        // are built on. PD goes last, and takes the client's own transport along.
        closing.abort(new TikvError("closed", "Cannot go on: the client was closed"));
        await txn?.layers.finish();
        client.close();
        routing.regions.close();
        txn?.routing.regions.close();
        await stores.close();
        await pd.close();
      })(),
  };
}
