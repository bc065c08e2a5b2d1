// SPDX-License-Identifier: Apache-2.0
// What requests say of themselves, as options of transactions and of snapshots name it.

import { nameOf } from "../bytes/utf8.ts";
import { checkOneOf, checkText } from "../options.ts";
import type { ContextFields, ResourceTagger } from "../rpc/context.ts";

/** What requests say of themselves, of transactions and of snapshots. */
export interface ContextOptions {
  /**
   * Which requests of a busy store come first.
   *
   * @default {"normal"}
   */
  readonly priority?: "low" | "normal" | "high" | undefined;
  /** The resource group that pays for it. */
  readonly resourceGroup?: string | undefined;
  /** A tag that stores count its load under, or a function that makes one for each request. */
  readonly resourceGroupTag?: Uint8Array | ResourceTagger | undefined;
  /** What it is for, in the statistics of stores. */
  readonly requestSource?: string | undefined;
}

/** The fields of these options, checked. */
export function commonFields(options: ContextOptions): ContextFields {
  return {
    priority: checkOneOf("priority", options.priority ?? "normal", PRIORITIES),
    resourceGroup: checkText("resourceGroup", options.resourceGroup),
    resourceGroupTag: checkResourceTag(options.resourceGroupTag),
    requestSource: checkText("requestSource", options.requestSource),
  };
}

/** Nothing for what says nothing: the usual context of a peer is encoded once for all such requests. */
export function usedFields(fields: ContextFields): ContextFields | undefined {
  const isUsed = Object.values(fields).some((value) => value !== undefined && value !== 0 && value !== false);
  return isUsed ? fields : undefined;
}

function checkResourceTag(tag: ContextOptions["resourceGroupTag"]): ContextOptions["resourceGroupTag"] {
  if (tag === undefined || typeof tag === "function") return tag;
  if (tag instanceof Uint8Array) return tag.slice();
  throw new TypeError(`Cannot use ${nameOf(tag)} as "resourceGroupTag": expected bytes or a function`);
}

// `kvrpcpb.CommandPri`.
const PRIORITIES = { "normal": 0, "low": 1, "high": 2 } as const;
