// SPDX-License-Identifier: Apache-2.0

import type { Service } from "../rpc/server.ts";
import { addHealth } from "./health.ts";
import { addClusterMethods } from "./pd_cluster.ts";
import { withEtcd } from "./pd_etcd.ts";
import { addGcMethods } from "./pd_gc.ts";
import { addKeyspaceMethods } from "./pd_keyspaces.ts";
import { addMetaMethods } from "./pd_meta_storage.ts";
import { addRegionMethods } from "./pd_regions.ts";
import type { PdScope } from "./pd_service.ts";
import { ServiceTable } from "./service_table.ts";

/** The services of one member of PD. */
export function pdService(scope: PdScope): Service {
  const table = new ServiceTable();
  addClusterMethods(table, scope);
  addRegionMethods(table, scope);
  addKeyspaceMethods(table, scope);
  addGcMethods(table, scope);
  addMetaMethods(table, scope);
  addHealth(table, scope.cluster, { storeId: undefined, member: scope.member.name, cut: () => scope.cut() });
  return withEtcd(scope.cluster, table.service());
}
