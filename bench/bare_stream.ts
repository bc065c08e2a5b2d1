// SPDX-License-Identifier: Apache-2.0
// The ceiling: one batch stream straight on the transport, gets only. It has promises, batches and
// the wire format, and nothing else: no region cache, no deadline, no retry, no interceptor.

import { systemClock } from "../src/async/clock.ts";
import { Deadline } from "../src/async/deadline.ts";
import { Reader } from "../src/bytes/reader.ts";
import { Writer } from "../src/bytes/writer.ts";
import { createHttp2Transport, type Http2Transport } from "../src/rpc/http2/transport.ts";
import type { WireStream } from "../src/rpc/transport.ts";

const PATH = "/tikvpb.Tikv/BatchCommands";
const MAX_BATCH = 128;

const LENGTH_DELIMITED = 2;
/** `BatchCommandsRequest.Request.RawGet` and `BatchCommandsResponse.Response.RawGet`. */
const RAW_GET = 13;

/** Region, epoch and peer of the stub cluster, as every request carries them. */
const CONTEXT: Uint8Array = encodeContext();

interface Waiting {
  readonly resolve: (value: Uint8Array | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** One stream to one store. */
export class BareStream {
  readonly #transport: Http2Transport;
  readonly #stream: WireStream;
  readonly #writer = new Writer(64 * 1024);
  readonly #waiting = new Map<number, Waiting>();
  #queue: Uint8Array[] = [];
  #nextId = 1;

  constructor(transport: Http2Transport, address: string) {
    this.#transport = transport;
    const deadline = Deadline.never(systemClock);
    this.#stream = transport.stream({ address, kind: "store" }, PATH, {
      onMessage: (message) => this.#answer(message),
      onClose: (status) => {
        const error = new Error(`the stream ended: ${status.message}`);
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
      },
    }, { deadline });
  }

  static async open(address: string): Promise<BareStream> {
    const transport = createHttp2Transport();
    await transport.connect({ address, kind: "store" }, Deadline.after(systemClock, 5_000));
    return new BareStream(transport, address);
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length === 0) queueMicrotask(() => this.#flush());
      this.#queue.push(key);
      this.#waiting.set(this.#nextId + this.#queue.length - 1, { resolve, reject });
    });
  }

  async close(): Promise<void> {
    this.#stream.end();
    await this.#transport.close();
  }

  #flush(): void {
    const keys = this.#queue;
    this.#queue = [];
    for (let from = 0; from < keys.length; from += MAX_BATCH) this.#send(keys.slice(from, from + MAX_BATCH));
  }

  #send(keys: readonly Uint8Array[]): void {
    const writer = this.#writer;
    for (const key of keys) {
      const request = writer.tag(1, LENGTH_DELIMITED).fork();
      const command = writer.tag(RAW_GET, LENGTH_DELIMITED).fork();
      writer.tag(1, LENGTH_DELIMITED).bytes(CONTEXT).tag(2, LENGTH_DELIMITED).bytes(key);
      writer.join(command).join(request);
    }
    const ids = writer.tag(2, LENGTH_DELIMITED).fork(3 * keys.length);
    for (let i = 0; i < keys.length; i++) writer.varint(this.#nextId + i);
    this.#nextId += keys.length;
    this.#stream.send(writer.join(ids).finish());
  }

  #answer(message: Uint8Array): void {
    const reader = new Reader(message);
    const values: (Uint8Array | undefined)[] = [];
    let index = 0;
    while (reader.pos < reader.end) {
      const tag = reader.tag();
      if (tag === (1 << 3 | LENGTH_DELIMITED)) values.push(readResponse(reader));
      else if (tag === (2 << 3 | LENGTH_DELIMITED)) {
        const outer = reader.enter();
        while (reader.pos < reader.end) this.#settle(reader.varintNumber(), values[index++]);
        reader.leave(outer);
      } else if (tag === 2 << 3) this.#settle(reader.varintNumber(), values[index++]);
      else reader.skip(tag);
    }
  }

  #settle(id: number, value: Uint8Array | undefined): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve(value);
  }
}

function readResponse(reader: Reader): Uint8Array | undefined {
  let value: Uint8Array | undefined;
  const outer = reader.enter();
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag !== (RAW_GET << 3 | LENGTH_DELIMITED)) {
      reader.skip(tag);
      continue;
    }
    const response = reader.enter();
    while (reader.pos < reader.end) {
      const field = reader.tag();
      if (field === (3 << 3 | LENGTH_DELIMITED)) value = reader.bytes().slice();
      else reader.skip(field);
    }
    reader.leave(response);
  }
  reader.leave(outer);
  return value;
}

function encodeContext(): Uint8Array {
  const writer = new Writer(256);
  writer.tag(1, 0).varint(4);
  const epoch = writer.tag(2, LENGTH_DELIMITED).fork();
  writer.tag(1, 0).varint(1).tag(2, 0).varint(1).join(epoch);
  const peer = writer.tag(3, LENGTH_DELIMITED).fork();
  return writer.tag(1, 0).varint(5).tag(2, 0).varint(1).join(peer).finish();
}
