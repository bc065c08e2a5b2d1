// SPDX-License-Identifier: Apache-2.0
// What stores answer to the requests of transactions, one by one: histories in which every answer is
// known. It holds the embedded stores to what stores that others wrote do.

import assert from "node:assert/strict";
import { type KeyError, type LockInfo, type MvccInfo, Op } from "../../gen/kvrpcpb_pb.ts";
import { utf8Decode } from "../../src/bytes/utf8.ts";
import { type Backend, type Capability, contract } from "./backend.ts";
import { methodOf } from "./direct_calls.ts";
import { type Stage, stageOf } from "./strictness_stage.ts";
import { HISTORIES, type History, type Play } from "./txn_answers.ts";

/** Tells answers in short, without what not every store has: sizes, texts, what a primary is. */
class Teller {
  readonly #prefix: string;
  readonly #base: bigint;

  constructor(prefix: string, base: bigint) {
    this.#prefix = prefix;
    this.#base = base;
  }

  tell(reply: unknown): string {
    const {
      regionError,
      info,
      error,
      errors,
      pairs,
      locks,
      value,
      lockTtl,
      notFounds,
      values,
      results: _,
      action,
      lockInfo,
      commitVersion,
      commitTs,
      onePcCommitTs,
      minCommitTs,
    } = reply as Answer;
    if (regionError !== undefined) return `a region error: ${regionError.message}`;
    if (typeof error === "string" && error !== "") return error;
    const [first] = error === undefined ? errors ?? [] : [error];
    if (typeof first === "object") return this.#error(first);
    if (pairs !== undefined) {
      return `[${
        pairs.map((pair) =>
          pair.error === undefined
            ? `${this.#key(pair.key)}=${utf8Decode(pair.value)}`
            : this.#error(pair.error)
        ).join(", ")
      }]`;
    }
    if (info !== undefined) return this.#mvcc(reply as Answer);
    if (locks !== undefined) {
      const told = `[${locks.map((lock) => this.#lock(lock)).join(", ")}]`;
      return commitTs === undefined ? told : `${told} committed ${this.#ms(commitTs)}`;
    }
    if (action !== undefined) {
      if (commitVersion !== undefined && commitVersion > 0n) return `committed ${this.#ms(commitVersion)}`;
      if (lockTtl === undefined || lockTtl === 0n) return `rolled back (${action})`;
      const pushed = action === 3 ? ", pushed" : "";
      return `alive ${lockTtl}${pushed}${lockInfo === undefined ? "" : `: locked ${this.#lock(lockInfo)}`}`;
    }
    if (lockTtl !== undefined) return `alive ${lockTtl}`;
    if (notFounds !== undefined && notFounds.length > 0) {
      return `[${
        notFounds.map((isMissing, i) => isMissing ? "nothing" : text(values?.[i]) || "there").join(", ")
      }]`;
    }
    if (value !== undefined && values === undefined) {
      return value.length === 0 ? "nothing" : utf8Decode(value);
    }
    if (onePcCommitTs !== undefined && onePcCommitTs > 0n) return "1pc";
    return minCommitTs !== undefined && minCommitTs > 0n ? "async" : "done";
  }

  #error(error: KeyError): string {
    const { locked, conflict, alreadyExist, commitTsExpired, assertionFailed, primaryMismatch } = error;
    if (locked !== undefined) return `locked ${this.#lock(locked)}`;
    // A store may tell the two ends of one transaction as a conflict of it with itself.
    if (conflict !== undefined && conflict.reason !== SELF_ROLLED_BACK) {
      const other = `${this.#ms(conflict.conflictTs)}..${this.#ms(conflict.conflictCommitTs)}`;
      return `conflict ${this.#key(conflict.key)} ${
        this.#ms(conflict.startTs)
      } with ${other} (${conflict.reason})`;
    }
    if (alreadyExist !== undefined) return `exists ${this.#key(alreadyExist.key)}`;
    if (commitTsExpired !== undefined) {
      const { attemptedCommitTs, minCommitTs } = commitTsExpired;
      return `too early ${this.#ms(attemptedCommitTs)}, min ${this.#ms(minCommitTs)}`;
    }
    if (assertionFailed !== undefined) {
      const { key, assertion, existingStartTs, existingCommitTs } = assertionFailed;
      const there = `${this.#ms(existingStartTs)}..${this.#ms(existingCommitTs)}`;
      return `asserted ${this.#key(key)} (${assertion}), there ${there}`;
    }
    if (primaryMismatch?.lockInfo !== undefined) {
      return `not the primary: locked ${this.#lock(primaryMismatch.lockInfo)}`;
    }
    const isOfHeartbeat = error.txnNotFound !== undefined;
    if (isOfHeartbeat && this.#isAskingStatus) return "not found";
    return "over";
  }

  /** An unknown transaction is one that is over, except to who asks for its state. */
  #isAskingStatus = false;

  of(method: string): this {
    this.#isAskingStatus = method === "KvCheckTxnStatus";
    return this;
  }

  #lock(
    { key, lockVersion, lockType, lockForUpdateTs, minCommitTs, useAsyncCommit, secondaries }: LockInfo,
  ): string {
    const kind = LOCK_TYPES[lockType] ?? String(lockType);
    const forUpdate = lockForUpdateTs === 0n ? "" : ` for=${this.#ms(lockForUpdateTs)}`;
    // A store chooses the least of an async commit, and need not keep that of a pessimistic lock.
    const isLeast = minCommitTs <= lockVersion + 1n;
    const least = useAsyncCommit || isLeast || kind === "pessimistic" ? "" : ` min=${this.#ms(minCommitTs)}`;
    const rest = secondaries.length === 0 ? "" : ` of ${secondaries.map((one) => this.#key(one)).join()}`;
    const how = useAsyncCommit ? ` async${rest}` : "";
    return `${this.#key(key)} ${this.#ms(lockVersion)} ${kind}${forUpdate}${least}${how}`;
  }

  #mvcc({ key, info }: Answer): string {
    const { lock, writes = [] } = info ?? {};
    const held = lock === undefined ? "no lock" : `${LOCK_TYPES[lock.type]} ${this.#ms(lock.startTs)}`;
    const told = writes.map(({ type, startTs, commitTs }) =>
      `${LOCK_TYPES[type]} ${this.#ms(startTs)}..${this.#ms(commitTs)}`
    );
    const name = key === undefined || key.length === 0 ? "" : `${this.#key(key)}: `;
    return `${name}${held}, ${told.length === 0 ? "no writes" : `writes ${told.join(", ")}`}`;
  }

  #key(key: Uint8Array): string {
    const name = new TextDecoder().decode(key);
    return name.slice(name.indexOf(this.#prefix) + this.#prefix.length);
  }

  #ms(ts: bigint): string {
    return ts === 0n ? "0" : String(Number((ts - this.#base) >> 18n));
  }
}

interface Answer {
  readonly key?: Uint8Array;
  readonly info?: MvccInfo;
  readonly regionError?: { readonly message: string };
  readonly error?: KeyError | string;
  readonly errors?: readonly KeyError[];
  readonly pairs?: readonly {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly error?: KeyError;
  }[];
  readonly locks?: readonly LockInfo[];
  readonly value?: Uint8Array;
  readonly values?: readonly Uint8Array[];
  readonly notFounds?: readonly boolean[];
  readonly results?: unknown;
  readonly lockTtl?: bigint;
  readonly action?: number;
  readonly lockInfo?: LockInfo;
  readonly commitVersion?: bigint;
  readonly commitTs?: bigint;
  readonly onePcCommitTs?: bigint;
  readonly minCommitTs?: bigint;
}

const SELF_ROLLED_BACK = 3;
const LOCK_TYPES: Readonly<Record<number, string>> = {
  [Op.Put]: "put",
  [Op.Del]: "delete",
  [Op.Lock]: "lock",
  [Op.PessimisticLock]: "pessimistic",
};

function text(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? "" : utf8Decode(bytes);
}

async function playHistory(stage: Stage, { steps }: History, { prefix, base }: {
  readonly prefix: string;
  readonly base: bigint;
}): Promise<void> {
  const { calls, place, context, key } = stage;
  const address = place.addressOf(place.leader.storeId);
  const play: Play = { key, at: (ms) => base + (BigInt(ms) << 18n) };
  const teller = new Teller(prefix, base);
  const told: string[] = [];
  const wanted: string[] = [];
  for (const [index, [method, bodyOf, answer]] of steps.entries()) {
    const { context: more, ...body } = bodyOf(play) as { context?: object };
    const request = { ...body, context: { ...context, ...more } };
    const reply = await calls.unary(address, methodOf(method), request as never);
    told.push(`${index} ${method}: ${teller.of(method).tell(reply)}`);
    wanted.push(`${index} ${method}: ${answer}`);
    // What comes next may hang on it.
    if (told.at(-1) !== wanted.at(-1)) break;
  }
  assert.deepEqual(told, wanted);
}

/** Registers a test for each history. */
export function txnAnswersSuite(backend: Backend): void {
  for (const history of HISTORIES) {
    const needs: Capability[] = ["split", ...history.needs ?? []];
    contract(backend, `answers: ${history.what}`, { needs }, async (scene) => {
      await using stage = await stageOf(scene, "txn");
      const base = await scene.client.pd.timestamp();
      await playHistory(stage, history, { prefix: scene.prefix, base });
    });
  }
}
