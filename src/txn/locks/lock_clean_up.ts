// SPDX-License-Identifier: Apache-2.0

import type { Background } from "../../async/background.ts";
import type { Environment } from "../../async/clock.ts";
import { Deadline } from "../../async/deadline.ts";
import { Operation } from "../../async/operation.ts";
import { hex } from "../../bytes/hex.ts";
import type { ClientEvent, Observer } from "../../observe/events.ts";
import type { ContextFields } from "../../rpc/context.ts";

/** What is taken away. */
export interface CleanUpWork {
  /** Whoever met the locks. */
  readonly operation: Operation;
  /** Goes on behind the caller, whom it cannot fail. */
  readonly isDetached: boolean;
  readonly context: ContextFields | undefined;
  /** What is done to the keys; the same for the same transaction. */
  readonly id: string;
  readonly keys: readonly Uint8Array[];
  readonly work: (
    operation: Operation,
    context: ContextFields | undefined,
    keys: readonly Uint8Array[],
  ) => Promise<void>;
}

/** Options of {@linkcode CleanUp}. */
export interface CleanUpOptions {
  readonly background: Pick<Background, "start">;
  readonly environment: Environment;
  readonly observe: Observer;
}

/**
 * Takes locks away whose transactions are over: while the caller waits, or behind it. Readers that
 * meet the same lock at the same time do not each ask for it to be taken away.
 */
export class CleanUp {
  readonly #options: CleanUpOptions;
  /** Keys that are being worked on behind callers. */
  readonly #underWay = new Set<string>();
  #running = 0;

  constructor(options: CleanUpOptions) {
    this.#options = options;
  }

  async run(job: CleanUpWork): Promise<void> {
    const { operation, isDetached, context, keys, work } = job;
    if (!isDetached) return await work(operation, context, keys);
    const ids = new Map(keys.map((key) => [`${job.id}/${hex(key)}`, key]));
    for (const id of ids.keys()) if (this.#underWay.has(id)) ids.delete(id);
    if (ids.size === 0) return;
    const rest = [...ids.values()];
    if (this.#running < MAX_RUNNING) {
      this.#start(job, { ids: [...ids.keys()], rest });
      return;
    }
    // So many are under way that the caller has to do its own.
    try {
      await work(operation, context, rest);
    } catch (error) {
      operation.deadline.throwIfOver("resolve locks");
      this.#warn(error);
    }
  }

  /** Tells observers what was done about a lock. */
  tell(operation: string, event: Omit<Extract<ClientEvent, { type: "lock" }>, "type" | "operation">): void {
    this.#options.observe({ type: "lock", operation, ...event });
  }

  #start(
    { context, work }: CleanUpWork,
    { ids, rest }: { readonly ids: readonly string[]; readonly rest: readonly Uint8Array[] },
  ): void {
    const { background, environment, observe } = this.#options;
    // It is nobody's resource group that pays for it, but whose request led to it stays known.
    const { requestSource } = context ?? {};
    const ofWork = requestSource === undefined ? undefined : { requestSource };
    const isStarted = background.start(NAME, async (signal) => {
      const deadline = Deadline.after(environment.clock, BUDGET_MS, signal);
      try {
        await work(new Operation(NAME, { deadline, environment, observer: observe }), ofWork, rest);
      } catch (error) {
        // Whoever meets these locks next resolves them.
        if (!signal.aborted) this.#warn(error);
      } finally {
        this.#running--;
        for (const id of ids) this.#underWay.delete(id);
      }
    });
    // A client that is being closed leaves them to others.
    if (!isStarted) return;
    this.#running++;
    for (const id of ids) this.#underWay.add(id);
  }

  #warn(cause: unknown): void {
    const message = "Cannot resolve locks of a transaction that is over: left to whoever meets them next";
    this.#options.observe({ type: "warning", message, cause });
  }
}

const NAME = "txn.resolveLocks";
/** client-go allows 10,000 (`AsyncResolveLockSemaphoreLimit`), which no store gains from. */
const MAX_RUNNING = 256;
/** client-go's `asyncResolveLockMaxBackoff`. */
const BUDGET_MS = 40_000;
