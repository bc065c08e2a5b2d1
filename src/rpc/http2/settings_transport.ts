// SPDX-License-Identifier: Apache-2.0

import type { DialTarget, Settings } from "../../settings.ts";
import type { Endpoint } from "../transport.ts";
import { parseAddress } from "./address.ts";
import { createHttp2Transport, type Http2Transport } from "./transport.ts";

/** The settings that a transport reads. */
export type TransportSettings = Pick<
  Settings,
  | "environment"
  | "observe"
  | "tls"
  | "addressMap"
  | "resolveAddress"
  | "connectTimeoutMs"
  | "keepAliveMs"
  | "keepAliveTimeoutMs"
  | "idleCloseMs"
  | "maxResponseBytes"
>;

/**
 * The transport that a client's settings describe.
 *
 * @param isTls encrypts connections also when there are no TLS options, with the runtime's authorities
 */
export function transportOfSettings(settings: TransportSettings, isTls: boolean): Http2Transport {
  return createHttp2Transport({
    environment: settings.environment,
    observer: settings.observe,
    tls: settings.tls ?? (isTls ? {} : undefined),
    resolve: (address, about) => dialTargetOf(settings, address, about),
    // Half of it, so that a second address can be tried in the time that `connect()` has.
    connectTimeoutMs: settings.connectTimeoutMs / 2,
    pingIntervalMs: settings.keepAliveMs,
    pingTimeoutMs: settings.keepAliveTimeoutMs,
    idleCloseMs: settings.idleCloseMs,
    maxMessageBytes: settings.maxResponseBytes,
  });
}

async function dialTargetOf(
  settings: TransportSettings,
  address: string,
  about: { readonly kind: Endpoint["kind"] },
): Promise<DialTarget> {
  const mapped = settings.addressMap.get(address);
  if (mapped !== undefined) return parseAddress(mapped);
  const resolved = await settings.resolveAddress?.(address, about) ?? address;
  return typeof resolved === "string" ? parseAddress(resolved) : resolved;
}
