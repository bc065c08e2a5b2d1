// SPDX-License-Identifier: Apache-2.0

import { Deadline } from "../async/deadline.ts";
import { Operation } from "../async/operation.ts";
import { TikvError } from "../errors.ts";
import { traced } from "../observe/tracer.ts";
import { checkSignal, checkTimeout } from "../options.ts";
import type { Settings } from "../settings.ts";
import type { CallOptions } from "../types.ts";
import type { Routing } from "./dispatch.ts";

/** What every public operation of a client is built on. */
export interface Session {
  readonly routing: Routing;
  readonly settings: Settings;
  /** Aborted when the client is closed, with a `closed` error as the reason. */
  readonly closing: AbortSignal;
  /** Called for every operation; throws where this kind of data must not be used. */
  readonly onUse?: (() => void) | undefined;
}

/** How a public operation begins. */
export interface OperationStart {
  /** Such as `"raw.get"`. */
  readonly name: string;
  /** What the caller gave for this call. */
  readonly options: CallOptions | undefined;
  /** What holds for all calls of the caller's view; the signals of both count. */
  readonly defaults: CallOptions;
}

/** Begins an operation; throws when the client is closed, the signal is aborted or an option is bad. */
export function startOperation(session: Session, { name, options, defaults }: OperationStart): Operation {
  const { settings, closing } = session;
  if (closing.aborted) throw new TikvError("closed", `Cannot do ${name}: the client is closed`);
  session.onUse?.();
  let { timeoutMs = settings.timeoutMs, signal } = defaults;
  if (options !== undefined) {
    if (options.timeoutMs !== undefined) timeoutMs = checkTimeout("timeoutMs", options.timeoutMs);
    if (options.signal !== undefined) {
      checkSignal(options.signal);
      signal = eitherOf(signal, options.signal);
    }
  }
  if (signal?.aborted) throw signal.reason;
  const { environment, observe: observer } = settings;
  const deadline = Deadline.after(environment.clock, timeoutMs, signal);
  return new Operation(name, { deadline, environment, observer, closing });
}

/** Does the work of a public call as one operation, in a span if there is a tracer. */
export async function runOperation<T>(
  session: Session,
  start: OperationStart,
  work: (operation: Operation) => Promise<T>,
): Promise<T> {
  const operation = startOperation(session, start);
  const inSpan = spanFor(session, start.name);
  try {
    return await (inSpan === undefined ? work(operation) : inSpan(() => work(operation)));
  } catch (error) {
    throw operation.fail(error);
  }
}

/** Does work in a span. */
export type InSpan = <T>(work: () => Promise<T>) => Promise<T>;

/** How work of this name is done in a span; undefined without a tracer. */
export function spanFor(session: Session, name: string): InSpan | undefined {
  const { tracer, keyspace } = session.settings;
  if (tracer === undefined) return undefined;
  // The names of OpenTelemetry for database calls. Keys and values never appear.
  const attributes: Record<string, string> = { "db.system.name": "tikv", "db.operation.name": name };
  if (keyspace !== undefined) attributes["db.namespace"] = keyspace;
  return (work) => traced(tracer, name, { attributes, work });
}

/** Defaults of calls within others: the time of the inner ones counts, and the signals of both. */
export function narrowDefaults(outer: CallOptions, { timeoutMs, signal }: CallOptions): CallOptions {
  checkSignal(signal);
  return {
    timeoutMs: timeoutMs === undefined ? outer.timeoutMs : checkTimeout("timeoutMs", timeoutMs),
    signal: eitherOf(outer.signal, signal),
  };
}

/** A signal that is aborted as soon as one of the two is. */
export function eitherOf(a: AbortSignal | undefined, b: AbortSignal | undefined): AbortSignal | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return AbortSignal.any([a, b]);
}
