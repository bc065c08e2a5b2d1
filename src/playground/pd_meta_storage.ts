// SPDX-License-Identifier: Apache-2.0
// The meta storage service, and the global configuration that PD keeps in the same place.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { EventSchema, KeyValueSchema } from "../../gen/meta_storagepb_pb.ts";
import {
  DeleteResponseSchema,
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
import { checkCluster, pdUnary } from "./pd_service.ts";
import type { ServiceTable } from "./service_table.ts";
import { CallStatus } from "./service_table.ts";

/** Adds the meta storage service and the global configuration to a member. */
export function addMetaMethods(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { meta } = cluster;
  const { method } = MetaStorageService;
  const header = () => ({ clusterId: cluster.clusterId, revision: meta.revision });

  pdUnary(table, scope, method.get, {
    role: "leader",
    handler: ({ key, rangeEnd, limit }) => {
      const entries = meta.range(metaRange(key, rangeEnd));
      const shown = limit > 0n ? entries.slice(0, Number(limit)) : entries;
      return create(GetResponseSchema, {
        header: header(),
        kvs: shown.map(entryMessage),
        more: shown.length < entries.length,
        count: BigInt(entries.length),
      });
    },
  });
  pdUnary(table, scope, method.put, {
    role: "leader",
    handler: ({ key, value, lease, prevKv }) => {
      const { previous } = meta.put(key, value, lease);
      return create(PutResponseSchema, {
        header: header(),
        ...(prevKv && previous !== undefined ? { prevKv: entryMessage(previous) } : {}),
      });
    },
  });
  pdUnary(table, scope, method.delete, {
    role: "leader",
    handler: ({ key, rangeEnd, prevKv }) => {
      const events = meta.delete(metaRange(key, rangeEnd));
      const previous = events.flatMap((event) =>
        event.previous === undefined ? [] : [entryMessage(event.previous)]
      );
      return create(DeleteResponseSchema, {
        header: header(),
        deleted: BigInt(events.length),
        prevKvs: prevKv ? previous : [],
      });
    },
  });
  table.serverStream(method.watch, (request, stream) => {
    cluster.counts.add("Watch", scope.member.name);
    checkCluster(cluster, request.header);
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
        else meta.put(key, payload.length > 0 ? payload : utf8Encode(value));
      }
      return create(StoreGlobalConfigResponseSchema);
    },
  });
  pdUnary(table, scope, method.loadGlobalConfig, {
    role: "any",
    handler: ({ names, configPath }) => {
      const folder = folderOf(configPath);
      const items = names.length === 0
        ? meta.range(folderRange(folder)).map((entry) => itemOf(folder, entry))
        : names.map((name) => {
          const entry = meta.get(utf8Encode(`${folder}/${name}`));
          return entry === undefined ? missingItem(name) : itemOf(folder, entry, name);
        });
      return create(LoadGlobalConfigResponseSchema, { items, revision: meta.revision });
    },
  });
  table.serverStream(method.watchGlobalConfig, ({ configPath, revision }, stream) => {
    cluster.counts.add(method.watchGlobalConfig.name, scope.member.name);
    const folder = folderOf(configPath);
    const stop = meta.watch(folderRange(folder), revision, (events) => {
      const changes = events.flatMap(({ entry, previous }) => {
        if (entry !== undefined) return [itemOf(folder, entry)];
        return previous === undefined ? [] : [{ ...itemOf(folder, previous), kind: EventType.DELETE }];
      });
      stream.send(create(WatchGlobalConfigResponseSchema, {
        header: { clusterId: cluster.clusterId },
        changes,
        revision: meta.revision,
      }));
    });
    stream.call.signal.addEventListener("abort", stop, { once: true });
  });
}

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

function itemOf(
  folder: string,
  entry: MetaEntry,
  name: string = new TextDecoder().decode(entry.key).slice(folder.length + 1),
): MessageInitShape<typeof GlobalConfigItemSchema> & { readonly $typeName?: never } {
  return {
    name,
    kind: EventType.PUT,
    payload: entry.value,
    value: new TextDecoder().decode(entry.value),
  };
}

function missingItem(name: string): MessageInitShape<typeof GlobalConfigItemSchema> {
  const message = `key ${name} not found`;
  return { name, error: { type: ErrorType.GLOBAL_CONFIG_NOT_FOUND, message } };
}

function entryMessage(entry: MetaEntry): MessageInitShape<typeof KeyValueSchema> {
  const { key, value, createRevision, modRevision, version, lease } = entry;
  return { key, value, createRevision, modRevision, version, lease };
}

function eventMessage(
  { key, revision, entry, previous }: MetaEvent,
  showsPrevious: boolean,
): MessageInitShape<typeof EventSchema> {
  return {
    type: entry === undefined ? Event_EventType.DELETE : Event_EventType.PUT,
    kv: entry === undefined ? { key, modRevision: revision } : entryMessage(entry),
    ...(showsPrevious && previous !== undefined ? { prevKv: entryMessage(previous) } : {}),
  };
}
