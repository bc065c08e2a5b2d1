// SPDX-License-Identifier: Apache-2.0

import type { ClientOptions } from "../client_options.ts";
import type { ApiKeyCodec } from "../codec/keyspace.ts";
import { checkBoolean, checkMethods, checkNames, checkNumber, checkSignal } from "../options.ts";
import type { Transport } from "../rpc/transport.ts";
import { resolveSettings, type Settings } from "../settings.ts";
import type { ControlTransport } from "./pd_channel.ts";

/** How the connections of a PD client are made; the same names as for a whole client. */
export type PdConnectionOptions = Pick<
  ClientOptions,
  | "timeoutMs"
  | "connectTimeoutMs"
  | "pdTimeoutMs"
  | "tls"
  | "addressMap"
  | "resolveAddress"
  | "keepAliveMs"
  | "keepAliveTimeoutMs"
  | "idleCloseMs"
  | "maxResponseBytes"
  | "observe"
  | "logger"
  | "expectClusterId"
  | "environment"
>;

/** Options of {@linkcode Pd.connect}. */
export interface PdOptions extends PdConnectionOptions {
  /** Ends connecting when aborted; it has no effect afterwards. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How keys are stored: what goes in and comes out of region calls are the keys that the user of
   * this API version and keyspace knows.
   *
   * @default {v1Codec("raw")} region borders as they are
   */
  readonly keys?: ApiKeyCodec | undefined;
  /**
   * Lets members of PD that do not lead answer questions about regions. They may be a little behind.
   *
   * @default {false}
   */
  readonly allowFollowers?: boolean | undefined;
  /**
   * Sends calls through another member while the leader of PD cannot be reached from here.
   *
   * @default {false}
   */
  readonly allowForwarding?: boolean | undefined;
  /**
   * How long the first caller that wants a timestamp waits for others to share its request, up to
   * 10 ms.
   *
   * @default {0} those of the same turn of the event loop share one, and those that come while a
   * request is under way share the next
   */
  readonly tsoBatchWaitMs?: number | undefined;
  /** Carries the calls to PD, for example gRPC-web through a proxy: one transport, or one for each address. */
  readonly controlTransport?: ControlTransport | undefined;
  /** The network, for tests and embedded clusters. It is not closed with the client. */
  readonly transport?: Transport | undefined;
}

/** {@linkcode PdOptions} checked and completed. */
export interface PdSettings extends Settings {
  readonly pd: {
    readonly allowFollowers: boolean;
    readonly allowForwarding: boolean;
    readonly tsoBatchWaitMs: number;
    readonly controlTransport: ControlTransport | undefined;
  };
}

/** Checks the options of a PD client and fills in the defaults. */
export function resolvePdSettings(options: PdOptions): PdSettings {
  checkNames("the options", options, NAMES);
  checkSignal(options.signal);
  checkMethods("transport", options.transport, ["unary", "stream", "connect", "closeAddress", "close"]);
  checkMethods("keys", options.keys, ["encodeRegionKey", "decodeRegionRange"]);
  const shared = Object.fromEntries(SHARED_NAMES.map((name) => [name, options[name]]));
  return pdSettingsOf(resolveSettings(shared), options);
}

/** Adds the defaults of what only PD clients have to the settings of a client. */
export function pdSettingsOf(settings: Settings, options: PdOptions = {}): PdSettings {
  const { controlTransport = settings.controlTransport } = options;
  if (typeof controlTransport !== "function") {
    checkMethods("controlTransport", controlTransport, ["unary", "stream"]);
  }
  const { allowFollowers = false, allowForwarding = false, tsoBatchWaitMs = 0 } = options;
  return Object.freeze({
    ...settings,
    pd: {
      allowFollowers: checkBoolean("allowFollowers", allowFollowers),
      allowForwarding: checkBoolean("allowForwarding", allowForwarding),
      // PD-003.
      tsoBatchWaitMs: checkNumber("tsoBatchWaitMs", tsoBatchWaitMs, { min: 0, max: 10 }),
      controlTransport,
    },
  });
}

const SHARED_NAMES = [
  "timeoutMs",
  "connectTimeoutMs",
  "pdTimeoutMs",
  "tls",
  "addressMap",
  "resolveAddress",
  "keepAliveMs",
  "keepAliveTimeoutMs",
  "idleCloseMs",
  "maxResponseBytes",
  "observe",
  "logger",
  "expectClusterId",
  "environment",
] as const satisfies readonly (keyof PdConnectionOptions)[];

const NAMES: ReadonlySet<string> = new Set([
  ...SHARED_NAMES,
  "signal",
  "keys",
  "allowFollowers",
  "allowForwarding",
  "tsoBatchWaitMs",
  "controlTransport",
  "transport",
]);
