// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import type { ErrorKind } from "../errors.ts";
import { TikvError, TimeoutError } from "../errors.ts";
import type { Members, Membership, SeedResult } from "./members.ts";
import { isUnimplemented } from "./pd_error.ts";

/**
 * Asks the seeds until one of them knows the leader of PD. All that answer have to belong to one
 * cluster. A cluster that is just being started is waited for until the deadline; what no wait can
 * mend (TLS, something that is not PD) ends it at once.
 */
export async function discover(
  members: Members,
  operation: Operation,
  expectClusterId: bigint | undefined,
): Promise<Membership> {
  for (;;) {
    operation.attempts++;
    const results = await members.askSeeds(operation.deadline);
    assertOneCluster(results, expectClusterId);
    const membership = results.find((result) => result.membership !== undefined)?.membership;
    if (membership !== undefined) return membership;
    const error = summary(results, operation.deadline.isOver());
    if (results.every((result) => isPermanent(result.error))) throw error;
    try {
      await operation.backoffs.wait("pdRPC", error);
    } catch (reason) {
      // Why nothing could be reached tells more than that there is no time left to wait.
      throw operation.deadline.isAborted ? reason : error;
    }
  }
}

function assertOneCluster(results: readonly SeedResult[], expected: bigint | undefined): void {
  const known = results.filter(({ clusterId }) => clusterId !== undefined && clusterId !== 0n);
  const ids = new Set(known.map(({ clusterId }) => clusterId));
  const list = known.map(({ address, clusterId }) => `${address} belongs to ${clusterId}`).join(", ");
  if (ids.size > 1) {
    throw new TikvError(
      "cluster-mismatch",
      `Cannot connect to PD: the addresses name several clusters: ${list}`,
    );
  }
  if (expected !== undefined && ids.size > 0 && !ids.has(expected)) {
    throw new TikvError(
      "cluster-mismatch",
      `Cannot connect to PD: expected cluster ${expected}, but ${list}`,
    );
  }
}

function isPermanent(error: unknown): boolean {
  return TikvError.is(error) && PERMANENT.has(error.kind);
}

function summary(results: readonly SeedResult[], isLate: boolean): TikvError {
  const reasons = results.map(({ address, error }) => {
    const text = error instanceof Error ? error.message : String(error);
    const hint = isUnimplemented(error) ? " (it does not serve PD; is it the address of a store?)" : "";
    return `"${address}": ${text}${hint}`;
  });
  const message = `Cannot connect to PD: ${reasons.join("; ")}`;
  const cause = results.find(({ error }) => error !== undefined)?.error;
  const kinds = new Set(results.map(({ error }) => TikvError.is(error) ? error.kind : "connection"));
  const [kind = "connection"] = kinds;
  if (kinds.size === 1 && PERMANENT.has(kind)) return new TikvError(kind, message, { cause });
  return isLate ? new TimeoutError(message, { cause }) : new TikvError("connection", message, { cause });
}

/** What stays as it is however often the same address is asked. */
const PERMANENT: ReadonlySet<ErrorKind> = new Set<ErrorKind>([
  "tls",
  "unsupported",
  "protocol",
  "cluster-mismatch",
]);
