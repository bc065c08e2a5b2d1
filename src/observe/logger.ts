// SPDX-License-Identifier: Apache-2.0

import type { ClientEvent, Observer } from "./events.ts";

/**
 * The part of a logger that is used, by structure: `console`, a pino logger and a `@std/log`
 * `Logger` fit as they are.
 */
export interface LoggerLike {
  /** What helps to find out what happened. */
  debug(message: string, ...details: unknown[]): unknown;
  /** What is worth knowing in normal operation. */
  info(message: string, ...details: unknown[]): unknown;
  /** What went wrong and was got over. */
  warn(message: string, ...details: unknown[]): unknown;
  /** What went wrong. */
  error(message: string, ...details: unknown[]): unknown;
}

type Level = "debug" | "info" | "warn";

/** At which level an event is logged; `undefined` for what happens per request and would drown the rest. */
const LEVEL_OF = {
  "retry": "debug",
  "rpc": undefined,
  "connection": "debug",
  "region-load": "debug",
  "region-invalidated": "debug",
  "region-leader": "debug",
  "store": "info",
  "pd-leader": "info",
  "lock": "debug",
  "large-commit": "info",
  "warning": "warn",
} satisfies Record<ClientEvent["type"], Level | undefined>;

/** An observer that writes events to a logger. */
export function loggingObserver(logger: LoggerLike): Observer {
  return (event) => {
    const level: Level | undefined = LEVEL_OF[event.type];
    if (level === undefined) return;
    if (event.type === "warning") logger.warn(`tikv: ${event.message}`, event);
    else logger[level](`tikv: ${event.type}`, event);
  };
}
