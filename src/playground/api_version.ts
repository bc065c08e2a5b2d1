// SPDX-License-Identifier: Apache-2.0
// Which requests a store takes, by its own API version, that of the request, and the prefix of
// the keys (`check_api_version` and `check_api_version_ranges` in `src/storage/mod.rs` of TiKV),
// and how keys are written to disk in each.

import { decodeBytes, encodeBytes } from "../bytes/memcomparable.ts";
import { hex } from "../bytes/hex.ts";
import type { ColumnFamily } from "./raw_engine.ts";

/** The API version of the stores: `storage.api-version` and `storage.enable-ttl` of TiKV. */
export type ApiVersion = "v1" | "v1ttl" | "v2";

/** A request that the storage refuses: `message` goes into `error`, `debug` into the error of a pair. */
export class StorageError extends Error {
  readonly debug: string;

  constructor(message: string, debug: string) {
    super(message);
    this.name = "StorageError";
    this.debug = `Error(${debug})`;
  }
}

/** A range of a request; an absent end is told apart from an empty one, as TiKV does. */
export interface RequestRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

/** What a command works on. */
export type CommandMode = "raw" | "txn";

type KeyMode = "raw" | "txn" | "tidb" | "unknown";

/** `kvrpcpb.APIVersion` by number, as TiKV prints it. */
const VERSION_NAMES: Readonly<Record<number, string>> = { 0: "V1", 1: "V1ttl", 2: "V2", 3: "V3" };

const STORAGE_NAMES: Readonly<Record<ApiVersion, string>> = { v1: "V1", v1ttl: "V1ttl", v2: "V2" };

const RAW_PREFIX = 0x72;
const TXN_PREFIX = 0x78;
const TIDB_META_PREFIX = 0x6d;
const TIDB_TABLE_PREFIX = 0x74;

/** The rules of one API version. */
export class ApiRules {
  readonly version: ApiVersion;
  #firstMode: CommandMode | undefined;
  /** Whether pairs may expire. */
  readonly hasTtl: boolean;

  constructor(version: ApiVersion) {
    this.version = version;
    this.hasTtl = version !== "v1";
  }

  /** A raw key of a request as it is written to disk, and as region bounds see it. */
  encodeRawKey(key: Uint8Array): Uint8Array {
    return this.version === "v2" ? encodeBytes(key) : key;
  }

  decodeRawKey(key: Uint8Array): Uint8Array {
    return this.version === "v2" ? decodeBytes(key) : key;
  }

  /** What the first command was about that had keys; undefined before it. */
  get firstMode(): CommandMode | undefined {
    return this.#firstMode;
  }

  /** Refuses keys that a request of this version must not touch. */
  checkKeys(command: string, mode: CommandMode, requested: number, keys: readonly Uint8Array[]): void {
    this.#firstMode ??= mode;
    const wanted = this.#wantedMode(command, mode, requested);
    if (wanted === undefined) return;
    for (const key of keys) {
      if (keyModeOf(key) === wanted) continue;
      const shown = hex(key).toUpperCase();
      throw this.#keyModeError(command, `key: ${shown}`, `InvalidKeyMode`, `key: "${shown}"`);
    }
  }

  /** Refuses ranges that a request of this version must not touch. */
  checkRanges(command: string, mode: CommandMode, requested: number, ranges: readonly RequestRange[]): void {
    this.#firstMode ??= mode;
    const wanted = this.#wantedMode(command, mode, requested);
    if (wanted === undefined) return;
    for (const range of ranges) {
      if (rangeModeOf(range) === wanted) continue;
      const end = range.end === undefined ? "None" : `Some("${hex(range.end).toUpperCase()}")`;
      const shown = `range: (Some("${hex(range.start).toUpperCase()}"), ${end})`;
      throw this.#keyModeError(command, shown, `InvalidKeyRangeMode`, shown);
    }
  }

  /** The column family of a request: by name in V1, never by name in V2. */
  columnFamily(name: string): ColumnFamily {
    if (name === "") return "default";
    if (this.version === "v2") {
      throw new StorageError(`cf is deprecated in API V2, cf name: ${name}`, `CfDeprecated("${name}")`);
    }
    if (name === "default" || name === "lock" || name === "write") return name;
    throw new StorageError(`invalid cf name: ${name}`, `InvalidCf("${name}")`);
  }

  /** The mode that keys must have; undefined when any key will do. Throws for a refused version. */
  #wantedMode(command: string, mode: CommandMode, requested: number): KeyMode | undefined {
    const request = VERSION_NAMES[requested] ?? String(requested);
    if (this.version === "v1" && request === "V1") return undefined;
    if (this.version === "v1ttl" && request === "V1" && mode === "raw") return undefined;
    if (this.version === "v2" && request === "V2") return mode;
    // TiDB writes its own prefixes with requests of V1.
    if (this.version === "v2" && request === "V1" && mode === "txn") return "tidb";
    const storage = STORAGE_NAMES[this.version];
    throw new StorageError(
      `Api version in request does not match with TiKV storage, cmd: ${command}, storage: ${storage}, request: ${request}`,
      `ApiVersionNotMatched { cmd: ${command}, storage_api_version: ${storage}, req_api_version: ${request} }`,
    );
  }

  #keyModeError(command: string, shown: string, variant: string, debug: string): StorageError {
    const storage = STORAGE_NAMES[this.version];
    return new StorageError(
      `Key mode mismatched with the request mode, cmd: ${command}, storage: ${storage}, ${shown}`,
      `${variant} { cmd: ${command}, storage_api_version: ${storage}, ${debug} }`,
    );
  }
}

function keyModeOf(key: Uint8Array): KeyMode {
  switch (key[0]) {
    case RAW_PREFIX:
      return "raw";
    case TXN_PREFIX:
      return "txn";
    case TIDB_META_PREFIX:
    case TIDB_TABLE_PREFIX:
      return "tidb";
    default:
      return "unknown";
  }
}

/** Both ends in one mode, or the end just behind all keys of the mode. */
function rangeModeOf({ start, end }: RequestRange): KeyMode {
  const first = start[0];
  const last = end?.[0];
  if (first === undefined || last === undefined || end === undefined) return "unknown";
  return first === last || (end.length === 1 && last === first + 1) ? keyModeOf(start) : "unknown";
}
