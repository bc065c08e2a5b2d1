// SPDX-License-Identifier: Apache-2.0
// The little of etcd that TiKV clients ask PD for: who its members are, and single keys (old
// clients keep the safe point there). There are no definitions of etcd here, so the few messages
// are read and written by hand.

import { keyAfter } from "../bytes/key_range.ts";
import { Reader } from "../bytes/reader.ts";
import { Writer } from "../bytes/writer.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import type { ServerCall, Service } from "../rpc/server.ts";
import type { Cluster } from "./cluster.ts";
import { statusOf } from "./service_table.ts";

const EMPTY = new Uint8Array(0);
const LENGTH_DELIMITED = 2;
const VARINT = 0;

/** Room for a message to start with. */
const MESSAGE_BYTES = 256;

type Handler = (cluster: Cluster, request: Uint8Array) => Uint8Array;

const METHODS: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ["/etcdserverpb.Cluster/MemberList", memberList],
  ["/etcdserverpb.KV/Range", range],
  ["/etcdserverpb.KV/Put", put],
]);

/** Answers what is asked of etcd, and hands everything else on. */
export function withEtcd(cluster: Cluster, next: Service): Service {
  return (call) => {
    const handler = METHODS.get(call.path);
    return handler === undefined ? next(call) : unary(call, (request) => handler(cluster, request));
  };
}

function unary(call: ServerCall, handler: (request: Uint8Array) => Uint8Array): ReturnType<Service> {
  let request: Uint8Array = EMPTY;
  return {
    onMessage: (message) => {
      request = message;
    },
    onEnd: () => {
      try {
        call.send(handler(request));
        call.end({ code: GRPC.OK, message: "" });
      } catch (error) {
        call.end(statusOf(error));
      }
    },
  };
}

function memberList(cluster: Cluster): Uint8Array {
  const reply = header(cluster);
  for (const { id, name, url } of cluster.members) {
    const member = new Writer(MESSAGE_BYTES);
    member.tag(1, VARINT).varint64(id);
    member.tag(2, LENGTH_DELIMITED).string(name);
    member.tag(3, LENGTH_DELIMITED).string(url);
    member.tag(4, LENGTH_DELIMITED).string(url);
    reply.tag(2, LENGTH_DELIMITED).bytes(member.finish());
  }
  return reply.finish();
}

function range(cluster: Cluster, request: Uint8Array): Uint8Array {
  const { 1: key = EMPTY, 2: rangeEnd } = bytesFields(request);
  // No end asks for one key; an end of one zero byte has no bound.
  const end = rangeEnd === undefined ? keyAfter(key) : isZero(rangeEnd) ? EMPTY : rangeEnd;
  const reply = header(cluster);
  let count = 0;
  for (const { key: found, value } of cluster.etcd.ascending({ start: key, end })) {
    const pair = new Writer(MESSAGE_BYTES);
    pair.tag(1, LENGTH_DELIMITED).bytes(found);
    pair.tag(5, LENGTH_DELIMITED).bytes(value);
    reply.tag(2, LENGTH_DELIMITED).bytes(pair.finish());
    count++;
  }
  return reply.tag(4, VARINT).varint(count).finish();
}

function put(cluster: Cluster, request: Uint8Array): Uint8Array {
  const { 1: key = EMPTY, 2: value = EMPTY } = bytesFields(request);
  cluster.etcd.set(key.slice(), value.slice());
  return header(cluster).finish();
}

function header(cluster: Cluster): Writer {
  const inner = new Writer(MESSAGE_BYTES);
  inner.tag(1, VARINT).varint64(cluster.clusterId);
  inner.tag(3, VARINT).varint(1);
  return new Writer(MESSAGE_BYTES).tag(1, LENGTH_DELIMITED).bytes(inner.finish());
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.length === 1 && bytes[0] === 0;
}

/** The fields of a message that are bytes. */
function bytesFields(message: Uint8Array): Record<number, Uint8Array> {
  const reader = new Reader(message);
  const fields: Record<number, Uint8Array> = {};
  while (reader.pos < message.length) {
    const tag = reader.tag();
    if ((tag & 7) === LENGTH_DELIMITED) fields[tag >> 3] = reader.bytes();
    else reader.skip(tag);
  }
  return fields;
}
