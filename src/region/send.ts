// SPDX-License-Identifier: Apache-2.0

import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { Operation } from "../async/operation.ts";
import type { Command } from "../rpc/commands.ts";
import type { TaggedRequest } from "../rpc/context.ts";
import type { Region } from "./region.ts";
import { isStale } from "./replica.ts";
import { attempt, type RegionRequest, type RequestOptions, type SenderOptions } from "./request.ts";
import { RegionCall } from "./region_call.ts";
import type { Stale } from "./stale.ts";

export type { RegionRequest, RequestOptions, SenderOptions } from "./request.ts";
export { STALE, type Stale } from "./stale.ts";

/** Sends requests to regions, and goes on until one of the replicas has answered. */
export class RegionSender {
  readonly #options: SenderOptions;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Makes a request of a body in the caller's keys. It can be sent to one region after the other. */
  request<I, O>(command: Command<I, O>, body: I, options: RequestOptions = NO_OPTIONS): RegionRequest<I, O> {
    return {
      command,
      body: this.#options.api.encodeRequest(command.name, body),
      options: typeof options.context?.resourceGroupTag === "function"
        ? this.#tagged(options, { method: command.name, request: body })
        : options,
      encoded: undefined,
      isRetry: options.isRetry === true,
      sentAt: 0,
    };
  }

  /**
   * The reply in the caller's keys, or {@linkcode STALE} when the region has to be looked up again;
   * the wait that goes before that is over then. A write whose answer was lost is sent again if
   * that does no harm, and is an `UndeterminedError` otherwise.
   */
  async send<I, O>(region: Region, request: RegionRequest<I, O>, operation: Operation): Promise<O | Stale> {
    const options = this.#options;
    const peer = region.leader;
    const { store } = peer;
    // Everything but the first attempt at a leader that seems alive is in `region_call.ts`: this
    // runs for every request, and allocates nothing that the attempt does not need.
    if (
      request.options.route !== undefined || !region.isValid || store.liveness !== "reachable" ||
      isStale(peer) || !store.hasAddress
    ) {
      return await new RegionCall(options, { region, request, operation }).run();
    }
    // Throws here when nothing was sent, and rejects when something was.
    const answer = attempt(options, { region, peer, request, operation });
    let reply: O;
    try {
      reply = await answer;
    } catch (error) {
      return await new RegionCall(options, { region, request, operation }).runAfter({ error });
    }
    if (regionErrorOf(reply) !== undefined) {
      return await new RegionCall(options, { region, request, operation }).runAfter({ reply });
    }
    // An answer settles what an earlier attempt had left open.
    if (operation.isMaybeExecuted) operation.isMaybeExecuted = false;
    return options.api.decodeReply(request.command.name, reply);
  }

  /** The options with the tag of this request instead of the function that makes it. */
  #tagged(options: RequestOptions, request: TaggedRequest): RequestOptions {
    const { context } = options;
    const tagger = context?.resourceGroupTag;
    let tag: Uint8Array | undefined;
    try {
      if (typeof tagger === "function") tag = tagger(request);
    } catch (cause) {
      // It is for statistics: the request is counted elsewhere, and done all the same.
      const message = `Cannot tag ${request.method}: "resourceGroupTag" failed`;
      this.#options.settings.observe({ type: "warning", message, cause });
    }
    const resourceGroupTag = tag instanceof Uint8Array ? tag : undefined;
    return { ...options, context: { ...context, resourceGroupTag } };
  }
}

/** The error of the region that a reply carries instead of its answer. */
export function regionErrorOf(reply: unknown): RegionError | undefined {
  return (reply as { readonly regionError?: RegionError | undefined }).regionError;
}

const NO_OPTIONS: RequestOptions = {};
