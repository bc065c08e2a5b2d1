// SPDX-License-Identifier: Apache-2.0
// client-go in a process of its own, as the tests of transactions drive it: `serve` of the Go program.

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { hex, parseHex } from "../../src/bytes/hex.ts";
import {
  type BeginWith,
  type Committed,
  type Entries,
  type Found,
  type LockWith,
  Refused,
  type ScanWith,
  type SnapshotDriver,
  type TxnClientDriver,
  type TxnDriver,
} from "./txn_client.ts";

/** Where the program connects. */
export interface GoClientOptions {
  readonly pd: readonly string[];
  readonly api: "v1" | "v2";
  readonly keyspace?: string | undefined;
  /** A folder with `ca.pem`, `cert.pem` and `key.pem`. */
  readonly tls?: string | undefined;
}

/** How client-go is told about the steps of fair locking. */
export type FairStep = "start" | "retry" | "cancel" | "done";

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** A process with a client of client-go. */
export class GoClient implements TxnClientDriver {
  readonly name = "client-go";
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #pending = new Map<number, Pending>();
  readonly #ended: Promise<void>;
  #stderr = "";
  #calls = 0;
  #txns = 0;

  private constructor(child: ChildProcessWithoutNullStreams, ready: () => void) {
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.#stderr += text);
    // A process that was killed reads no more.
    child.stdin.on("error", () => {});
    createInterface({ input: child.stdout, crlfDelay: Infinity }).on("line", (text) => {
      const line = JSON.parse(text) as Readonly<Record<string, unknown>>;
      if (line["ready"] === true) ready();
      else this.#settle(line);
    });
    this.#ended = new Promise((resolve) => {
      const end = (): void => {
        const error = new Error(`The Go program ended: ${this.#stderr}`);
        for (const { reject } of this.#pending.values()) reject(error);
        this.#pending.clear();
        resolve();
      };
      child.once("error", end).once("close", end);
    });
  }

  /** Starts the program and resolves when its client is connected. */
  static async start(path: string, options: GoClientOptions): Promise<GoClient> {
    const args = ["serve", "--pd", options.pd.join(","), "--api", options.api];
    if (options.keyspace !== undefined) args.push("--keyspace", options.keyspace);
    if (options.tls !== undefined) args.push("--tls", options.tls);
    const child = spawn(path, args, { stdio: ["pipe", "pipe", "pipe"] });
    const { promise: ready, resolve } = Promise.withResolvers<void>();
    const client = new GoClient(child, resolve);
    const failed = client.#ended.then(() => {
      throw new Error(`client-go cannot connect: ${client.#stderr}`);
    });
    // It ends some time, and nobody waits for that then.
    failed.catch(() => {});
    await Promise.race([ready, failed]);
    return client;
  }

  /** Makes one call of the program. */
  call(op: string, fields: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ id, op, ...fields })}\n`);
    });
  }

  async timestamp(): Promise<bigint> {
    return BigInt(String(await this.call("timestamp")));
  }

  async begin(options: BeginWith & { readonly pipelined?: boolean } = {}): Promise<GoTxn> {
    const { mode, commit = "2pc", causal, startTs, failsOnLock, strict, pipelined } = options;
    const txn = `t${++this.#txns}`;
    const started = await this.call("begin", {
      txn,
      pessimistic: mode === "pessimistic",
      commit,
      causal,
      ts: startTs?.toString(),
      noResolve: failsOnLock,
      strict,
      pipelined,
    });
    return new GoTxn(this, txn, BigInt(String(started)));
  }

  snapshot(ts: bigint): SnapshotDriver {
    return readerOf((op, fields) => {
      return this.call(`snap${op[0]?.toUpperCase()}${op.slice(1)}`, { ...fields, ts: ts.toString() });
    });
  }

  /** Resolves every lock up to the timestamp. */
  async collectGarbage(ts: bigint): Promise<bigint> {
    return BigInt(String(await this.call("gc", { ts: ts.toString() })));
  }

  /** Ends the process as a crash does. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing of it is to be waited for: the transactions of a test are over, or meant to be left.
    await this.kill();
  }

  #settle(line: Readonly<Record<string, unknown>>): void {
    const pending = this.#pending.get(Number(line["id"]));
    this.#pending.delete(Number(line["id"]));
    const error = line["error"] as Readonly<Record<string, unknown>> | undefined;
    if (error === undefined) pending?.resolve(line["result"]);
    else if (error["kind"] === "panic") pending?.reject(new Error(String(error["message"])));
    else pending?.reject(new Refused(String(error["kind"]), String(error["message"]), error));
  }
}

/** A transaction of client-go. */
export class GoTxn implements TxnDriver {
  readonly startTs: bigint;
  readonly get: TxnDriver["get"];
  readonly batchGet: TxnDriver["batchGet"];
  readonly scan: TxnDriver["scan"];
  readonly #client: GoClient;
  readonly #name: string;

  constructor(client: GoClient, name: string, startTs: bigint) {
    this.startTs = startTs;
    this.#client = client;
    this.#name = name;
    ({ get: this.get, batchGet: this.batchGet, scan: this.scan } = readerOf((op, fields) =>
      this.#do(op, fields)
    ));
  }

  async put(key: string, value: string): Promise<void> {
    await this.#do("put", { keys: [encode(key)], value: encode(value) });
  }

  async insert(key: string, value: string): Promise<void> {
    await this.#do("insert", { keys: [encode(key)], value: encode(value) });
  }

  async insertLocked(key: string, value: string, options: LockWith = {}): Promise<void> {
    await this.#do("insertLocked", { keys: [encode(key)], value: encode(value), ...waitOf(options) });
  }

  async delete(key: string): Promise<void> {
    await this.#do("delete", { keys: [encode(key)] });
  }

  async assert(key: string, exists: boolean): Promise<void> {
    await this.#do("assert", { keys: [encode(key)], exists });
  }

  async lock(keys: readonly string[], options: LockWith = {}): Promise<Found> {
    return (await this.lockFairly(keys, options)).found;
  }

  /** As `lock()`, and which keys were locked at what timestamp although they had been written meanwhile. */
  async lockFairly(
    keys: readonly string[],
    options: LockWith = {},
  ): Promise<{ readonly found: Found; readonly conflicts: Readonly<Record<string, bigint>> }> {
    const { onlyIfExists } = options;
    const fields = { keys: keys.map(encode), onlyIfExists, ...waitOf(options) };
    const locked = await this.#do("lock", fields) as {
      readonly values: Found;
      readonly conflicts?: Readonly<Record<string, string>>;
    };
    const conflicts = Object.entries(locked.conflicts ?? {}).map(([key, ts]) => [decode(key), BigInt(ts)]);
    return { found: foundOf(locked.values), conflicts: Object.fromEntries(conflicts) };
  }

  /** A step of fair locking. */
  async fair(step: FairStep): Promise<void> {
    await this.#do("fair", { step });
  }

  /** Writes what is in the buffer of a pipelined transaction to the stores. */
  async flush(): Promise<void> {
    await this.#do("flush");
  }

  async commit(): Promise<Committed> {
    const { commitTs, path } = await this.#do("commit") as { commitTs: string; path: Committed["path"] };
    return { commitTs: BigInt(commitTs), path };
  }

  async rollback(): Promise<void> {
    await this.#do("rollback");
  }

  #do(op: string, fields: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    return this.#client.call(op, { txn: this.#name, ...fields });
  }
}

function readerOf(
  call: (op: string, fields: Readonly<Record<string, unknown>>) => Promise<unknown>,
): SnapshotDriver {
  return {
    get: async (key) => {
      const value = await call("get", { keys: [encode(key)] });
      return value === null || value === undefined ? undefined : decode(String(value));
    },
    batchGet: async (keys) => foundOf(await call("batchGet", { keys: keys.map(encode) }) as Found),
    scan: async ({ start = "", end = "", limit, reverse }: ScanWith = {}): Promise<Entries> => {
      const found = await call("scan", { start: encode(start), end: encode(end), limit, reverse });
      return (found as [string, string][]).map(([key, value]) => [decode(key), decode(value)]);
    },
  };
}

/** The wire has no infinity: -1 waits for ever. */
function waitOf({ waitMs = Infinity }: LockWith): { readonly waitMs: number } {
  return { waitMs: waitMs === Infinity ? -1 : waitMs };
}

function foundOf(found: Found): Found {
  return Object.fromEntries(Object.entries(found).map(([key, value]) => [decode(key), decode(value)]).sort());
}

function encode(text: string): string {
  return hex(new TextEncoder().encode(text));
}

function decode(text: string): string {
  return new TextDecoder().decode(parseHex(text));
}
