// SPDX-License-Identifier: Apache-2.0

import type { DescMessage, DescMethodUnary, Message, MessageShape } from "@bufbuild/protobuf";
import type { Context } from "../../gen/kvrpcpb_pb.ts";
import type { Cluster } from "./cluster.ts";

/** The store on which a command runs. */
export interface StoreScope {
  readonly cluster: Cluster;
  readonly storeId: bigint;
}

/** A command of the Tikv service, the same alone and in a batch. */
export interface StoreCommand {
  readonly method: DescMethodUnary;
  /** Its name in the `cmd` of a batch; undefined when it cannot be batched. */
  readonly batchCase: string | undefined;
  run(scope: StoreScope, request: Message): Message | Promise<Message>;
}

/** Ties a method to the function that runs it. */
export function storeCommand<I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  batchCase: string | undefined,
  run: (scope: StoreScope, request: MessageShape<I>) => MessageShape<O> | Promise<MessageShape<O>>,
): StoreCommand {
  return {
    method,
    batchCase,
    // The dispatcher decodes with `method.input`, so the message has the shape of the method.
    run: (scope, request) => run(scope, request as MessageShape<I>),
  };
}

/** The Context of a request, of which every command of a region has one. */
export function contextOf(request: Message): Context | undefined {
  return "context" in request ? request.context as Context | undefined : undefined;
}

/** The names of the fields that hold keys, in the requests of stores and of PD. */
const KEY_FIELDS = ["key", "startKey", "splitKey", "regionKey", "primaryLock"] as const;
const KEY_LIST_FIELDS = ["keys", "splitKeys", "prevKeys"] as const;

/** The keys that a request names, for rules that look for one. */
export function keysOf(request: Message): Uint8Array[] {
  const fields = request as unknown as Readonly<Record<string, unknown>>;
  const keys: Uint8Array[] = [];
  const push = (value: unknown): void => {
    if (value instanceof Uint8Array) keys.push(value);
  };
  for (const name of KEY_FIELDS) push(fields[name]);
  for (const name of KEY_LIST_FIELDS) if (Array.isArray(fields[name])) fields[name].forEach(push);
  for (const name of ["pairs", "mutations", "ranges"]) {
    const list = fields[name];
    if (!Array.isArray(list)) continue;
    for (const item of list as Readonly<Record<string, unknown>>[]) push(item["key"] ?? item["startKey"]);
  }
  return keys;
}
