// SPDX-License-Identifier: Apache-2.0

import { type KeyInput, nameOf } from "../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../codec/codec.ts";
import {
  type ByteKeys,
  type ByteValues,
  type Coding,
  iterable,
  type KeyIn,
  ROOT_CODING,
  subCoding,
  type ValueIn,
  type ViewCodecs,
} from "../codec/coding.ts";
import { checkCallOptions, checkNames } from "../options.ts";
import type { Session } from "../plan/session.ts";
import type { CallOptions } from "../types.ts";
import type { AtomicRaw, CoprocessorReply, CoprocessorRequest, Raw, Swap, SwapResult } from "./api.ts";
import { ViewEncoder } from "./encode.ts";
import { checkPutOptions, checkTtl, type PutOptions } from "./options.ts";
import { swapValue } from "./point.ts";
import { askPlugin } from "./range.ts";
import { narrowScope, type RawScope, rootScope, runCall, type ViewOptions } from "./scope.ts";
import { BaseView } from "./view.ts";

/** The raw data of a client. */
export function createRaw(session: Session, defaults: CallOptions = {}): Raw {
  return new PlainView<ByteKeys, ByteValues>(rootScope(session, defaults), ROOT_CODING);
}

class PlainView<K extends KeyCodec<unknown>, V extends Codec<unknown>> extends BaseView<K, V>
  implements Raw<K, V> {
  readonly #scope: RawScope;
  readonly #coding: Coding<K, V>;

  constructor(scope: RawScope, coding: Coding<K, V>) {
    super(scope, coding);
    this.#scope = scope;
    this.#coding = coding;
  }

  atomic(): AtomicRaw<K, V> {
    return new AtomicView({ ...this.#scope, isAtomic: true }, this.#coding);
  }

  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs: ViewCodecs<K2, V2> = {},
  ): Raw<K2, V2> {
    return new PlainView(this.#scope, subCoding<K2, V2>(this.#coding, prefix, codecs));
  }

  with(options: ViewOptions): Raw<K, V> {
    return new PlainView(narrowScope(this.#scope, options), this.#coding);
  }

  columnFamily(name: string): Raw<K, V> {
    return this.with({ columnFamily: name });
  }

  async coprocessor(
    plugin: string,
    request: CoprocessorRequest<K>,
    options?: CallOptions,
  ): Promise<CoprocessorReply[]> {
    checkCallOptions(options);
    checkNames("the request", request, PLUGIN_NAMES);
    for (const text of [plugin, request.version]) {
      if (typeof text !== "string") {
        throw new TypeError(
          `Cannot use ${nameOf(text)} as the name or version of a plugin: expected a string`,
        );
      }
    }
    const { data, version } = request;
    const ranges = Array.from(iterable(request.ranges, "ranges"), (range) => this.#coding.encodeRange(range));
    const dataOf = typeof data === "function" ? data : () => data;
    return await runCall(this.#scope, "raw.coprocessor", {
      options,
      work: (operation) => askPlugin(this.#scope, { plugin, version, ranges, dataOf }, operation),
    });
  }
}

class AtomicView<K extends KeyCodec<unknown>, V extends Codec<unknown>> extends BaseView<K, V>
  implements AtomicRaw<K, V> {
  readonly #scope: RawScope;
  readonly #coding: Coding<K, V>;

  constructor(scope: RawScope, coding: Coding<K, V>) {
    super(scope, coding);
    this.#scope = scope;
    this.#coding = coding;
  }

  async compareAndSwap(key: KeyIn<K>, swap: Swap<V>, options?: CallOptions): Promise<SwapResult<V>> {
    checkCallOptions(options);
    checkNames("the swap", swap, SWAP_NAMES);
    if (swap.expect === undefined) {
      throw new TypeError(
        'Cannot swap: "expect" is undefined, expected a value, or null for a key that must not exist',
      );
    }
    return await this.#swap("raw.compareAndSwap", { key, swap, ttl: checkTtl(swap.ttlSeconds) }, options);
  }

  async putIfAbsent(key: KeyIn<K>, value: ValueIn<V>, options?: PutOptions): Promise<SwapResult<V>> {
    const ttl = checkPutOptions(options);
    return await this.#swap("raw.putIfAbsent", { key, swap: { expect: null, value }, ttl }, options);
  }

  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs: ViewCodecs<K2, V2> = {},
  ): AtomicRaw<K2, V2> {
    return new AtomicView(this.#scope, subCoding<K2, V2>(this.#coding, prefix, codecs));
  }

  with(options: ViewOptions): AtomicRaw<K, V> {
    return new AtomicView(narrowScope(this.#scope, options), this.#coding);
  }

  columnFamily(name: string): AtomicRaw<K, V> {
    return this.with({ columnFamily: name });
  }

  async #swap(
    name: string,
    { key, swap, ttl }: { readonly key: KeyIn<K>; readonly swap: Swap<V>; readonly ttl: bigint },
    options: CallOptions | undefined,
  ): Promise<SwapResult<V>> {
    const entry = new ViewEncoder(this.#scope, this.#coding).entry(key, swap.value, ttl);
    const expect = swap.expect === null ? undefined : this.#coding.encodeValue(swap.expect);
    const { isSwapped, previous } = await runCall(this.#scope, name, {
      options,
      work: (operation) => swapValue(this.#scope, { ...entry, expect }, operation),
    });
    return {
      swapped: isSwapped,
      previous: previous === undefined ? undefined : this.#coding.decodeValue(previous),
    };
  }
}

const PLUGIN_NAMES: ReadonlySet<string> = new Set(["version", "ranges", "data"]);
const SWAP_NAMES: ReadonlySet<string> = new Set(["expect", "value", "ttlSeconds"]);
