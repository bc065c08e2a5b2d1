// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import type { ApiCodec } from "../rpc/api_codec.ts";
import { encodeRegionContext } from "../rpc/context.ts";
import type { StoreClient } from "../rpc/store_client.ts";
import type { PlanStore, StoreRequest, StoreTargets } from "./plan.ts";

/** What {@linkcode createStoreTargets} needs. */
export interface StoreTargetsOptions {
  readonly client: Pick<StoreClient, "call">;
  readonly api: ApiCodec;
  readonly clusterId: bigint;
  /** Time for one request: a store may have to walk all that it has. */
  readonly attemptTimeoutMs: number;
  /** The stores that were not removed. */
  readonly stores: (operation: Operation) => Promise<readonly (PlanStore & { readonly state: string })[]>;
}

/** Sends requests to stores as a whole, once each: they know no regions, and nothing is tried again. */
export function createStoreTargets(options: StoreTargetsOptions): StoreTargets {
  const { client, api, clusterId, attemptTimeoutMs } = options;
  return {
    async list(operation: Operation): Promise<readonly PlanStore[]> {
      const stores = await options.stores(operation);
      return stores.filter(({ state, address }) => state === "up" && address !== "");
    },
    async send<I, O>(
      store: PlanStore,
      { command, body }: StoreRequest<I, O>,
      operation: Operation,
    ): Promise<O> {
      const plain = api.encodeRequest(command.name, body);
      const context = encodeRegionContext({
        regionId: 0n,
        confVer: 0n,
        version: 0n,
        peer: { id: 0n, storeId: store.id, role: "voter" },
        clusterId,
        ...api.context,
      });
      operation.attempts++;
      try {
        const reply = await client.call(store, command, { context, body: command.encode(plain), plain }, {
          deadline: operation.deadline.within(attemptTimeoutMs),
          operation: operation.name,
          attempt: operation.attempts,
        });
        return api.decodeReply(command.name, reply);
      } catch (error) {
        if (command.isWrite && isDoubtful(error)) operation.isMaybeExecuted = true;
        throw error;
      }
    },
  };
}

/** Everything but an error that says that the request never arrived. */
function isDoubtful(error: unknown): boolean {
  return !(typeof error === "object" && error !== null && "isMaybeExecuted" in error &&
    error.isMaybeExecuted === false);
}
