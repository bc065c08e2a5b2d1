// SPDX-License-Identifier: Apache-2.0

/** Something that the client did or noticed. Keys never appear in an event. */
export type ClientEvent =
  | {
    /** A request failed in a way that is tried again. */
    readonly type: "retry";
    readonly operation: string;
    /** Name of the back-off kind, or of the region error when there was no wait. */
    readonly reason: string;
    readonly attempt: number;
    readonly waitMs: number;
    readonly regionId?: bigint | undefined;
    readonly storeId?: bigint | undefined;
  }
  | {
    /** One attempt of an RPC ended. */
    readonly type: "rpc";
    readonly method: string;
    readonly address: string;
    readonly durationMs: number;
    readonly isError: boolean;
  }
  | {
    /** A connection changed its state. */
    readonly type: "connection";
    readonly address: string;
    readonly state: "connecting" | "ready" | "draining" | "closed";
    readonly reason?: string | undefined;
  }
  | {
    /** Regions were loaded from PD. */
    readonly type: "region-load";
    readonly reason: string;
    readonly regions: number;
    readonly durationMs: number;
  }
  | {
    /** A cached region was given up. */
    readonly type: "region-invalidated";
    readonly regionId: bigint;
    readonly reason: string;
  }
  | {
    /** A request goes to another peer from now on. */
    readonly type: "region-leader";
    readonly regionId: bigint;
    readonly storeId: bigint;
  }
  | {
    /** A store was found dead, alive, moved or removed. */
    readonly type: "store";
    readonly storeId: bigint;
    readonly state: "reachable" | "unreachable" | "moved" | "removed";
    readonly address: string;
  }
  | {
    /** PD has another leader. */
    readonly type: "pd-leader";
    readonly address: string;
  }
  | {
    /** Locks of another transaction were met, and its primary was asked. */
    readonly type: "lock";
    readonly operation: string;
    /** When the other transaction began. */
    readonly lockTs: bigint;
    /** How many of its locks were met. */
    readonly locks: number;
    /** How it is doing; `mismatch` when its primary is another key by now, `missing` when that has nothing of it. */
    readonly state: "alive" | "committed" | "rolled-back" | "released" | "mismatch" | "missing";
    /** What is done about the locks. */
    readonly action: "wait" | "resolve" | "release";
    /** How long the other transaction lives at most; 0 unless it is waited for. */
    readonly waitMs: number;
  }
  | {
    /** A transaction with more than 10,000 keys or 4 MiB is about to be committed. */
    readonly type: "large-commit";
    /** When it began. */
    readonly startTs: bigint;
    readonly keys: number;
    /** Of keys and values. */
    readonly sizeBytes: number;
  }
  | {
    /** Something was wrong that the client got over without an error; worth a log line. */
    readonly type: "warning";
    readonly message: string;
    readonly cause?: unknown;
  };

/** Receives every event of a client, synchronously. What it throws is ignored. */
export type Observer = (event: ClientEvent) => void;

/** An observer that ignores everything; lets callers emit without a check. */
export const noObserver: Observer = () => {};

/** Shields the client from an observer that throws. */
export function guardObserver(observer: Observer | undefined): Observer {
  if (observer === undefined) return noObserver;
  return (event) => {
    try {
      observer(event);
    } catch {
      // An observer must not be able to fail an operation; its own errors are its own business.
    }
  };
}
