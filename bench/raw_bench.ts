// SPDX-License-Identifier: Apache-2.0
// Puts this client under the loads that `bench/go` puts client-go under. Each line of the standard
// input is a phase ("get 256 1": operation, callers, seconds); each line out is a result.
//
//   public  `connect()` and its calls: region cache, deadline, retries, all that a user gets
//   bare    a batch stream straight on the transport: the ceiling of what the layers above can reach

import process from "node:process";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { connect } from "../mod.ts";
import { BareStream } from "./bare_stream.ts";
import {
  BATCH_GET_KEYS,
  benchKeys,
  type Call,
  KEY_COUNT,
  measure,
  type Phase,
  SCAN_ROWS,
  VALUE,
} from "./load.ts";
import { isTxnLoad, txnLoad } from "./txn_load.ts";

/** A client under load. */
interface Subject {
  call(operation: string): Call | Promise<Call>;
  close(): Promise<void>;
}

const keys = benchKeys();

function key(turn: number): Uint8Array {
  return keys[turn % KEY_COUNT] ?? VALUE;
}

async function publicClient(pd: string): Promise<Subject> {
  const client = await connect(pd, { mode: "mixed" });
  const { raw } = client;
  const calls: Readonly<Record<string, Call>> = {
    get: (turn) => raw.get(key(turn)),
    put: (turn) => raw.put(key(turn), VALUE),
    batchGet: (turn) => {
      const from = turn * BATCH_GET_KEYS % (KEY_COUNT - BATCH_GET_KEYS);
      return raw.batchGet(keys.slice(from, from + BATCH_GET_KEYS));
    },
    scan: (turn) => raw.scan({ start: key(turn) }, { limit: SCAN_ROWS }).toArray(),
  };
  return {
    async call(operation): Promise<Call> {
      if (!isTxnLoad(operation)) return calls[operation] ?? unknownOperation(operation);
      return txnLoad(client, operation, { keys, ts: await client.pd.timestamp() });
    },
    close: () => client.close(),
  };
}

async function bareStream(store: string): Promise<Subject> {
  const stream = await BareStream.open(store);
  return {
    call: (operation) => operation === "get" ? (turn) => stream.get(key(turn)) : unknownOperation(operation),
    close: () => stream.close(),
  };
}

function unknownOperation(operation: string): never {
  throw new RangeError(`Cannot run the load: no operation "${operation}"`);
}

function parsePhase(line: string): Phase {
  const [operation = "get", callers = "256", seconds = "1"] = line.trim().split(/\s+/);
  return { operation, callers: Number(callers), seconds: Number(seconds) };
}

const { values: options } = parseArgs({
  args: process.argv.slice(2),
  options: {
    pd: { type: "string", default: "127.0.0.1:2379" },
    client: { type: "string", default: "public" },
  },
});
const subject = options.client === "bare" ? await bareStream(options.pd) : await publicClient(options.pd);
try {
  for await (const line of createInterface({ input: process.stdin })) {
    const phase = parsePhase(line);
    const result = await measure(options.client, await subject.call(phase.operation), phase);
    console.log(JSON.stringify(result));
  }
} finally {
  await subject.close();
}
