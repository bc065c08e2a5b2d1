// SPDX-License-Identifier: Apache-2.0
// How a refused command is answered: there are three places for an error in the answers of stores.

import type { DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { GRPC } from "../rpc/grpc_status.ts";
import { StorageError } from "./api_version.ts";
import { RegionRefusal } from "./region_check.ts";
import { CallStatus } from "./service_table.ts";

/**
 * The answer to a command that threw: a region error, the text in `error`, or for commands that
 * answer with pairs only, the text inside a single pair. Anything else is thrown on.
 */
export function refusalOf(output: DescMessage, error: unknown): Message {
  if (error instanceof RegionRefusal && hasField(output, "region_error")) {
    return build(output, { regionError: error.error });
  }
  if (error instanceof StorageError) return textRefusal(output, error.message, error.debug);
  throw error;
}

/** The answer that carries a text, in whatever place the message has for one. */
export function textRefusal(output: DescMessage, message: string, debug: string = message): Message {
  const field = output.fields.find(({ name }) => name === "error");
  if (field?.fieldKind === "scalar") return build(output, { error: message });
  for (const name of ["kvs", "pairs"]) {
    if (hasField(output, name)) return build(output, { [name]: [{ error: { abort: debug } }] });
  }
  throw new CallStatus(GRPC.UNKNOWN, message);
}

/** The text of an error inside a pair, as TiKV prints it there. */
export function abortOf(error: unknown): string {
  if (error instanceof StorageError) return error.debug;
  if (error instanceof RegionRefusal) return `Error(Kv(Error(Request(message: "${error.message}"))))`;
  throw error;
}

function hasField(output: DescMessage, name: string): boolean {
  return output.fields.some((field) => field.name === name);
}

function build(output: DescMessage, fields: Readonly<Record<string, unknown>>): Message {
  return create(output, fields as MessageInitShape<DescMessage>);
}
