// SPDX-License-Identifier: Apache-2.0

import { type CommandName, COMMANDS, type Commands } from "../rpc/commands.ts";

/** How a request is called in {@linkcode Kv}: the RPC's name with a small first letter. */
export type KvName<C extends CommandName = CommandName> = C extends "KVPessimisticRollback"
  ? "kvPessimisticRollback"
  : Uncapitalize<C>;

/** All requests that stores take, by {@linkcode KvName}. */
export type KvCommands = { readonly [C in CommandName as KvName<C>]: Commands[C] };

/** The requests that stores take, for plans. */
export const Kv: KvCommands = Object.freeze(
  Object.fromEntries(Object.values(COMMANDS).map((command) => [kvNameOf(command.name), command])),
) as KvCommands;

function kvNameOf(name: CommandName): string {
  // The one RPC that kvproto writes with two capitals.
  if (name === "KVPessimisticRollback") return "kvPessimisticRollback";
  return name.charAt(0).toLowerCase() + name.slice(1);
}
