// SPDX-License-Identifier: Apache-2.0
// Written by tools/gen.ts. Do not edit.

/**
 * The messages and services of TiKV and PD, one namespace per definition file, for callers of RPCs that the
 * client does not wrap. They follow kvproto `v0.0.0-20260724054804-059694ae4472` and change
 * with it in any release: a field or message that TiKV drops is dropped here.
 *
 * @example Encode a request
 * ```ts
 * import assert from "node:assert/strict";
 * import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
 * import { kvrpcpb } from "@tikv/client/proto";
 *
 * const request = create(kvrpcpb.RawGetRequestSchema, { key: new TextEncoder().encode("greeting") });
 * const bytes = toBinary(kvrpcpb.RawGetRequestSchema, request);
 * assert.deepEqual(fromBinary(kvrpcpb.RawGetRequestSchema, bytes), request);
 * ```
 *
 * @experimental
 * @module
 */

/** The definitions of apipb.proto. */
export * as apipb from "./apipb_pb.ts";
/** The definitions of coprocessor.proto. */
export * as coprocessor from "./coprocessor_pb.ts";
/** The definitions of deadlock.proto. */
export * as deadlock from "./deadlock_pb.ts";
/** The definitions of disaggregated.proto. */
export * as disaggregated from "./disaggregated_pb.ts";
/** The definitions of disk_usage.proto. */
export * as disk_usage from "./disk_usage_pb.ts";
/** The definitions of encryptionpb.proto. */
export * as encryptionpb from "./encryptionpb_pb.ts";
/** The definitions of eraftpb.proto. */
export * as eraftpb from "./eraftpb_pb.ts";
/** The definitions of errorpb.proto. */
export * as errorpb from "./errorpb_pb.ts";
/** The definitions of gcpb.proto. */
export * as gcpb from "./gcpb_pb.ts";
/** The definitions of grpc/health/v1/health.proto. */
export * as health from "./grpc/health/v1/health_pb.ts";
/** The definitions of keyspacepb.proto. */
export * as keyspacepb from "./keyspacepb_pb.ts";
/** The definitions of kvrpcpb.proto. */
export * as kvrpcpb from "./kvrpcpb_pb.ts";
/** The definitions of meta_storagepb.proto. */
export * as meta_storagepb from "./meta_storagepb_pb.ts";
/** The definitions of metapb.proto. */
export * as metapb from "./metapb_pb.ts";
/** The definitions of mpp.proto. */
export * as mpp from "./mpp_pb.ts";
/** The definitions of pdpb.proto. */
export * as pdpb from "./pdpb_pb.ts";
/** The definitions of raft_serverpb.proto. */
export * as raft_serverpb from "./raft_serverpb_pb.ts";
/** The definitions of replication_modepb.proto. */
export * as replication_modepb from "./replication_modepb_pb.ts";
/** The definitions of resource_manager.proto. */
export * as resource_manager from "./resource_manager_pb.ts";
/** The definitions of routerpb.proto. */
export * as routerpb from "./routerpb_pb.ts";
/** The definitions of schedulingpb.proto. */
export * as schedulingpb from "./schedulingpb_pb.ts";
/** The definitions of tikvpb.proto. */
export * as tikvpb from "./tikvpb_pb.ts";
/** The definitions of tracepb.proto. */
export * as tracepb from "./tracepb_pb.ts";
/** The definitions of tsopb.proto. */
export * as tsopb from "./tsopb_pb.ts";
