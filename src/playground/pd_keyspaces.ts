// SPDX-License-Identifier: Apache-2.0

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { KeyspaceMetaSchema } from "../../gen/keyspacepb_pb.ts";
import {
  GetAllKeyspacesResponseSchema,
  Keyspace as KeyspaceService,
  LoadKeyspaceResponseSchema,
  UpdateKeyspaceStateResponseSchema,
} from "../../gen/keyspacepb_pb.ts";
import { ErrorType } from "../../gen/pdpb_pb.ts";
import type { Keyspace } from "./keyspaces.ts";
import type { PdScope } from "./pd_service.ts";
import { errorHeader, okHeader, pdUnary } from "./pd_service.ts";
import type { ServiceTable } from "./service_table.ts";

/** Adds the keyspace service to a member. */
export function addKeyspaceMethods(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { keyspaces } = cluster;
  const { method } = KeyspaceService;
  const missing = () => ({ header: errorHeader(cluster, ErrorType.ENTRY_NOT_FOUND, NOT_FOUND) });
  const found = (keyspace: Keyspace | undefined) =>
    keyspace === undefined ? missing() : { header: okHeader(cluster), keyspace: keyspaceMessage(keyspace) };

  pdUnary(table, scope, method.loadKeyspace, {
    role: "leader",
    handler: ({ name }) => create(LoadKeyspaceResponseSchema, found(keyspaces.byName(name))),
  });
  pdUnary(table, scope, method.loadKeyspaceByID, {
    role: "leader",
    handler: ({ keyspace }) =>
      create(LoadKeyspaceResponseSchema, found(keyspaces.byId(keyspace.case === "id" ? keyspace.value : 0))),
  });
  pdUnary(table, scope, method.getAllKeyspaces, {
    role: "leader",
    handler: ({ startKeyspace, limit }) => {
      const startId = startKeyspace.case === "startId" ? startKeyspace.value : 0;
      const list = keyspaces.list(startId, limit).map(keyspaceMessage);
      return create(GetAllKeyspacesResponseSchema, { header: okHeader(cluster), keyspaces: list });
    },
  });
  pdUnary(table, scope, method.updateKeyspaceState, {
    role: "leader",
    handler: ({ keyspace, state }) => {
      const id = keyspace.case === "id" ? keyspace.value : 0;
      if (keyspaces.byId(id) === undefined) return create(UpdateKeyspaceStateResponseSchema, missing());
      const changed = keyspaces.setState(id, state);
      if (changed === undefined) {
        const message = id === 0
          ? "this keyspace is protected and not allowed to be updated"
          : `keyspace ${id} cannot go to state ${state}`;
        return create(UpdateKeyspaceStateResponseSchema, {
          header: errorHeader(cluster, ErrorType.UNKNOWN, message),
        });
      }
      return create(UpdateKeyspaceStateResponseSchema, found(changed));
    },
  });
}

/** The text of PD's `ErrKeyspaceNotFound`. */
const NOT_FOUND = "keyspace does not exist";

function keyspaceMessage(keyspace: Keyspace): MessageInitShape<typeof KeyspaceMetaSchema> {
  return {
    keyspace: { case: "id", value: keyspace.id },
    name: keyspace.name,
    state: keyspace.state,
    createdAt: keyspace.createdAt,
    stateChangedAt: keyspace.stateChangedAt,
    config: keyspace.config,
  };
}
