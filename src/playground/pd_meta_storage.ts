// SPDX-License-Identifier: Apache-2.0
// The meta storage service, and the global configuration that PD keeps in the same place.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { EventSchema, KeyValueSchema } from "../../gen/meta_storagepb_pb.ts";
import {
  DeleteResponseSchema,
  ErrorType as MetaErrorType,
  Event_EventType,
  GetResponseSchema,
  MetaStorage as MetaStorageService,
  PutResponseSchema,
  WatchResponseSchema,
} from "../../gen/meta_storagepb_pb.ts";
import type { GlobalConfigItemSchema } from "../../gen/pdpb_pb.ts";
import {
  ErrorType,
  EventType,
  LoadGlobalConfigResponseSchema,
  PD,
  StoreGlobalConfigResponseSchema,
  WatchGlobalConfigResponseSchema,
} from "../../gen/pdpb_pb.ts";
import { prefixEnd } from "../bytes/key_range.ts";
import { utf8Encode } from "../bytes/utf8.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import type { MetaEntry, MetaEvent } from "./meta_storage.ts";
import { metaRange } from "./meta_storage.ts";
import type { PdScope } from "./pd_service.ts";
import { pdUnary } from "./pd_service.ts";
import type { ServiceTable } from "./service_table.ts";
import { CallStatus } from "./service_table.ts";

/** Adds the meta storage service and the global configuration to a member. */
export function addMetaMethods(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { meta } = cluster;
  const { method } = MetaStorageService;
  const header = () => ({ clusterId: cluster.clusterId, revision: meta.revision });

  // This service asks for no cluster id, only whether the member leads. What etcd refuses is told in
  // the header, and of entries no more than the key and the value.
  const refused = (message: string) => ({
    header: { clusterId: cluster.clusterId, error: { type: MetaErrorType.UNKNOWN, message } },
  });

  pdUnary(table, scope, method.get, {
    role: "leader-of-any-cluster",
    handler: ({ key, rangeEnd, limit, revision }) => {
      if (key.length === 0) return create(GetResponseSchema, refused(NO_KEY));
      if (revision > meta.revision) return create(GetResponseSchema, refused(FUTURE_REVISION));
      const entries = meta.range(metaRange(key, rangeEnd));
      const shown = limit > 0n ? entries.slice(0, Number(limit)) : entries;
      return create(GetResponseSchema, {
        header: header(),
        kvs: shown.map(({ key, value }) => ({ key, value })),
        more: shown.length < entries.length,
        count: BigInt(entries.length),
      });
    },
  });
  pdUnary(table, scope, method.put, {
    role: "leader-of-any-cluster",
    handler: ({ key, value, lease, prevKv }) => {
      if (key.length === 0) return create(PutResponseSchema, refused(NO_KEY));
      // Nobody can be granted one here.
      if (lease !== 0n) return create(PutResponseSchema, refused(NO_LEASE));
      const { previous } = meta.put(key, value);
      return create(PutResponseSchema, {
        header: header(),
        ...(prevKv && previous !== undefined ? { prevKv: { key, value: previous.value } } : {}),
      });
    },
  });
  pdUnary(table, scope, method.delete, {
    role: "leader-of-any-cluster",
    handler: ({ key, prevKv }) => {
      if (key.length === 0) return create(DeleteResponseSchema, refused(NO_KEY));
      // PD passes on neither the end of a range nor the number of what was deleted.
      const events = meta.delete(metaRange(key, new Uint8Array(0)));
      const prevKvs = prevKv
        ? events.map(({ previous }) => ({ key, value: previous?.value ?? NOTHING }))
        : [];
      return create(DeleteResponseSchema, { header: header(), prevKvs });
    },
  });
  table.serverStream(method.watch, (request, stream) => {
    cluster.counts.add("Watch", scope.member.name);
    if (cluster.leader !== scope.member) throw new CallStatus(GRPC.UNAVAILABLE, "not leader");
    const stop = meta.watch(metaRange(request.key, request.rangeEnd), request.startRevision, (events) => {
      stream.send(create(WatchResponseSchema, {
        header: header(),
        events: events.map((event) => eventMessage(event, request.prevKv)),
      }));
    });
    stream.call.signal.addEventListener("abort", stop, { once: true });
  });
  addGlobalConfig(table, scope);
}

function addGlobalConfig(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { meta } = cluster;
  const { method } = PD;

  pdUnary(table, scope, method.storeGlobalConfig, {
    role: "any",
    handler: ({ changes, configPath }) => {
      const folder = folderOf(configPath);
      for (const { name, kind, payload, value } of changes) {
        const key = utf8Encode(`${folder}/${name}`);
        if (kind === EventType.DELETE) meta.delete(metaRange(key, new Uint8Array(0)));
        else meta.put(key, value === "" ? payload : utf8Encode(value));
      }
      return create(StoreGlobalConfigResponseSchema);
    },
  });
  pdUnary(table, scope, method.loadGlobalConfig, {
    role: "any",
    handler: ({ names, configPath }) => {
      const folder = folderOf(configPath);
      if (names.length === 0) {
        const items = meta.range(folderRange(folder)).map((entry) => itemOf(entry));
        return create(LoadGlobalConfigResponseSchema, { items, revision: meta.revision });
      }
      const items = names.map((name) => {
        const entry = meta.get(utf8Encode(`${folder}/${name}`));
        return entry === undefined ? missingItem(name) : itemOf(entry, name);
      });
      return create(LoadGlobalConfigResponseSchema, { items });
    },
  });
  table.serverStream(method.watchGlobalConfig, ({ configPath, revision }, stream) => {
    cluster.counts.add(method.watchGlobalConfig.name, scope.member.name);
    const folder = folderOf(configPath);
    const stop = meta.watch(folderRange(folder), revision, (events) => {
      const changes = events.flatMap(({ entry, previous }) => {
        if (entry !== undefined) return [itemOf(entry)];
        return previous === undefined ? [] : [{ ...itemOf(previous), kind: EventType.DELETE }];
      });
      stream.send(create(WatchGlobalConfigResponseSchema, {
        changes,
        revision: meta.revision,
      }));
    });
    stream.call.signal.addEventListener("abort", stop, { once: true });
  });
}

const NOTHING = new Uint8Array(0);

// The texts of etcd.
const NO_KEY = "etcdserver: key is not provided";
const NO_LEASE = "etcdserver: requested lease not found";
const FUTURE_REVISION = "etcdserver: mvcc: required revision is a future revision";

/** Where PD keeps the configuration when the request does not say (`globalConfigPath`). */
const DEFAULT_FOLDER = "/global/config";

function folderOf(configPath: string): string {
  if (configPath === "") return DEFAULT_FOLDER;
  if (!configPath.startsWith("/")) {
    throw new CallStatus(GRPC.INVALID_ARGUMENT, `global config path "${configPath}" is not allowed`);
  }
  return configPath.replace(/\/+$/, "");
}

function folderRange(folder: string): { readonly start: Uint8Array; readonly end: Uint8Array } {
  const start = utf8Encode(`${folder}/`);
  return { start, end: prefixEnd(start) };
}

/** An entry; of a whole path PD gives the full keys as names. */
function itemOf(
  entry: MetaEntry,
  name: string = new TextDecoder().decode(entry.key),
): MessageInitShape<typeof GlobalConfigItemSchema> & { readonly $typeName?: never } {
  return { name, kind: EventType.PUT, payload: entry.value };
}

function missingItem(name: string): MessageInitShape<typeof GlobalConfigItemSchema> {
  const message = `key ${name} not found`;
  return { name, error: { type: ErrorType.GLOBAL_CONFIG_NOT_FOUND, message } };
}

function entryMessage(entry: MetaEntry): MessageInitShape<typeof KeyValueSchema> {
  const { key, value, createRevision, modRevision, version } = entry;
  return { key, value, createRevision, modRevision, version };
}

function eventMessage(
  { key, revision, entry, previous }: MetaEvent,
  showsPrevious: boolean,
): MessageInitShape<typeof EventSchema> {
  return {
    type: entry === undefined ? Event_EventType.DELETE : Event_EventType.PUT,
    kv: entry === undefined ? { key, modRevision: revision } : entryMessage(entry),
    ...(showsPrevious && previous !== undefined ? { prevKv: { key, value: previous.value } } : {}),
  };
}
