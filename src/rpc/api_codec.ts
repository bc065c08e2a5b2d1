// SPDX-License-Identifier: Apache-2.0

import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { ApiKeyCodec, ApiVersion } from "../codec/keyspace.ts";
import { decodeRegionError } from "./api_fields.ts";
import { API_TABLE } from "./api_table.ts";
import type { CommandName } from "./command_types.ts";

/** What requests say about the API version in their context. */
export interface ApiContext {
  /** The number of `kvrpcpb.APIVersion`. */
  readonly apiVersion: number;
  /** The null keyspace unless the version has keyspaces. */
  readonly keyspaceId: number;
  readonly keyspaceName?: string | undefined;
}

/** Translates requests and replies between the user's keys and those of the cluster. */
export interface ApiCodec {
  readonly keys: ApiKeyCodec;
  readonly context: ApiContext;
  /** The body with the keys of the cluster. The one that was given stays as it is. */
  encodeRequest<I>(name: CommandName, body: I): I;
  /**
   * The reply with the user's keys, those of its errors too. A key of another keyspace is a `codec`
   * error, except where a store tells of all keyspaces, and in regions: those are left out.
   */
  decodeReply<O>(name: CommandName, reply: O): O;
}

/** Makes the codec for the keys of one API version; `keyspaceName` goes into requests as it is. */
export function createApiCodec(keys: ApiKeyCodec, keyspaceName?: string): ApiCodec {
  const context: ApiContext = {
    apiVersion: VERSION_NUMBERS[keys.apiVersion],
    keyspaceId: keys.keyspaceId,
    ...(keyspaceName === undefined ? {} : { keyspaceName }),
  };
  return keys.apiVersion === "v2" ? v2Api(keys, context) : v1Api(keys, context);
}

function v2Api(keys: ApiKeyCodec, context: ApiContext): ApiCodec {
  return {
    keys,
    context,
    encodeRequest: <I>(name: CommandName, body: I) => ROWS[name].request(body, keys) as I,
    decodeReply: <O>(name: CommandName, reply: O) =>
      withRegionError(reply, keys) ?? ROWS[name].reply(reply, keys) as O,
  };
}

// Keys of version 1 are the user's own, so only borders of regions can need a translation.
function v1Api(keys: ApiKeyCodec, context: ApiContext): ApiCodec {
  return {
    keys,
    context,
    encodeRequest: <I>(_name: CommandName, body: I) => body,
    decodeReply: <O>(name: CommandName, reply: O) =>
      withRegionError(reply, keys) ??
        (name === "SplitRegion" ? ROWS[name].reply(reply, keys) as O : reply),
  };
}

// A reply with a region error has nothing else in it.
function withRegionError<O>(reply: O, keys: ApiKeyCodec): O | undefined {
  const { regionError } = reply as { readonly regionError?: RegionError | undefined };
  return regionError === undefined
    ? undefined
    : { ...reply, regionError: decodeRegionError(regionError, keys) };
}

interface UntypedRow {
  request(body: unknown, keys: ApiKeyCodec): unknown;
  reply(reply: unknown, keys: ApiKeyCodec): unknown;
}

// The table is typed by the name of the command, which the sender of just any command does not know.
const ROWS = API_TABLE as unknown as Readonly<Record<CommandName, UntypedRow>>;

// Stores with a TTL in version 1 take requests of version 1 and refuse their own number
// (`check_api_version` in `src/storage/mod.rs` of TiKV).
const VERSION_NUMBERS = { "v1": 0, "v1ttl": 0, "v2": 2 } as const satisfies Record<ApiVersion, number>;
