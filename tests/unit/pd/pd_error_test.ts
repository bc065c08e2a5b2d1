// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { ErrorType } from "../../../gen/pdpb_pb.ts";
import { TikvError } from "../../../src/errors.ts";
import {
  actionOf,
  errorOfRefusal,
  isPdText,
  isUnimplemented,
  mayHaveHappened,
  withPdKind,
} from "../../../src/pd/pd_error.ts";
import { errorOfStatus, GRPC, type RpcError } from "../../../src/rpc/grpc_status.ts";

const ABOUT = { method: "GetStore", address: "pd:2379" };

function status(
  code: number,
  message = "",
  origin: "peer" | "transport" | "caller" = "peer",
  isMaybeExecuted = true,
): RpcError {
  return errorOfStatus(
    { code, message, trailers: {}, origin, isMaybeExecuted },
    "/pdpb.PD/GetStore",
    "pd:2379",
  );
}

test("[PD-013] each of PD's error types has its row", () => {
  assert.equal(errorOfRefusal(undefined, ABOUT), undefined);
  assert.equal(errorOfRefusal({ type: ErrorType.OK, message: "" }, ABOUT), undefined);
  const rows = {
    UNKNOWN: ["server", "fail"],
    NOT_BOOTSTRAPPED: ["region-unavailable", "wait"],
    STORE_TOMBSTONE: ["server", "fail"],
    ALREADY_BOOTSTRAPPED: ["server", "fail"],
    INCOMPATIBLE_VERSION: ["unsupported", "fail"],
    REGION_NOT_FOUND: ["region-unavailable", "fail"],
    GLOBAL_CONFIG_NOT_FOUND: ["server", "fail"],
    DUPLICATED_ENTRY: ["server", "fail"],
    ENTRY_NOT_FOUND: ["server", "fail"],
    INVALID_VALUE: ["misuse", "fail"],
    DATA_COMPACTED: ["server", "fail"],
    REGIONS_NOT_CONTAIN_ALL_KEY_RANGE: ["region-unavailable", "wait"],
  } as const;
  assert.deepEqual(Object.keys(rows), Object.keys(ErrorType).filter((name) => name !== "OK"));
  for (const [name, [kind, action]] of Object.entries(rows)) {
    const error = errorOfRefusal({ type: ErrorType[name as keyof typeof rows], message: "why" }, ABOUT);
    assert.equal(error?.kind, kind, name);
    assert.equal(error?.code, name);
    assert.equal(actionOf(error), action, name);
    assert.equal(error?.message, `Cannot call GetStore at pd:2379: PD answered ${name}: why`);
  }
  const unknown = errorOfRefusal({ type: 99, message: "new" }, ABOUT);
  assert.deepEqual([unknown?.kind, unknown?.code], ["server", "UNKNOWN"]);
});

test("[PD-035] each status of a call has its action", () => {
  const follow: number[] = [
    GRPC.CANCELLED,
    GRPC.DEADLINE_EXCEEDED,
    GRPC.ABORTED,
    GRPC.INTERNAL,
    GRPC.UNAVAILABLE,
  ];
  for (const code of Object.values(GRPC)) {
    if (code === GRPC.OK) continue;
    const expected = follow.includes(code) ? "follow" : code === GRPC.RESOURCE_EXHAUSTED ? "wait" : "fail";
    assert.equal(actionOf(status(code)), expected, `status ${code}`);
  }
  assert.equal(actionOf(status(GRPC.UNAVAILABLE, "lost", "transport")), "follow");
  assert.equal(actionOf(new TikvError("timeout", "late")), "follow");
  assert.equal(actionOf(new TikvError("protocol", "no message")), "fail");
  assert.equal(actionOf(new TikvError("tls", "wrong name")), "fail");
  assert.equal(actionOf(new Error("what")), "fail");
});

test("[PD-035] [TRAP-48] the texts without a code are looked for only in errors without a code", () => {
  for (
    const text of [
      "no leader",
      "pd is not leader of cluster",
      "is not served",
      "not primary",
      "retry timeout",
      "mismatch callee id",
      "server not started",
    ]
  ) {
    assert.equal(isPdText(status(GRPC.UNKNOWN, text), "leader-changed"), true, text);
    assert.equal(actionOf(status(GRPC.UNKNOWN, text)), "follow");
    assert.equal(actionOf(errorOfRefusal({ type: ErrorType.UNKNOWN, message: text }, ABOUT)), "follow");
    assert.equal(isPdText(status(GRPC.PERMISSION_DENIED, text), "leader-changed"), false, text);
    assert.equal(isPdText(status(GRPC.UNKNOWN, text, "transport"), "leader-changed"), false, text);
    assert.equal(
      isPdText(errorOfRefusal({ type: ErrorType.INVALID_VALUE, message: text }, ABOUT), "leader-changed"),
      false,
    );
    assert.equal(isPdText(new Error(text), "leader-changed"), false);
  }
  const gone = "invalid store ID 5, not found";
  assert.equal(isPdText(status(GRPC.UNKNOWN, gone), "store-not-found"), true);
  assert.equal(isPdText(status(GRPC.UNKNOWN, "not found"), "store-not-found"), false);
  assert.equal(actionOf(status(GRPC.UNKNOWN, gone)), "fail");
});

test("a write counts as perhaps done unless PD or the transport says that it was not looked at", () => {
  assert.equal(mayHaveHappened(status(GRPC.UNAVAILABLE, "", "transport", true)), true);
  assert.equal(mayHaveHappened(status(GRPC.UNAVAILABLE, "", "transport", false)), false);
  assert.equal(mayHaveHappened(status(GRPC.DEADLINE_EXCEEDED, "", "caller", true)), true);
  assert.equal(mayHaveHappened(status(GRPC.DEADLINE_EXCEEDED)), true);
  assert.equal(mayHaveHappened(status(GRPC.INTERNAL)), true);
  assert.equal(mayHaveHappened(status(GRPC.UNAVAILABLE, "not leader")), false);
  assert.equal(mayHaveHappened(status(GRPC.RESOURCE_EXHAUSTED)), false);
  assert.equal(mayHaveHappened(status(GRPC.UNKNOWN)), false);
  assert.equal(mayHaveHappened(status(GRPC.PERMISSION_DENIED)), false);
  assert.equal(mayHaveHappened(errorOfRefusal({ type: ErrorType.INVALID_VALUE, message: "" }, ABOUT)), false);
});

test("[PD-007] a failed precondition of PD is a mismatch of clusters", () => {
  const mismatch = withPdKind(status(GRPC.FAILED_PRECONDITION, "mismatch cluster id, need 1 but got 2"));
  assert.ok(TikvError.is(mismatch));
  assert.equal(mismatch.kind, "cluster-mismatch");
  const other = status(GRPC.NOT_FOUND);
  assert.equal(withPdKind(other), other);
  assert.equal(isUnimplemented(status(GRPC.UNIMPLEMENTED)), true);
  assert.equal(isUnimplemented(status(GRPC.UNIMPLEMENTED, "", "transport")), false);
});
