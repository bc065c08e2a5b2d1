// SPDX-License-Identifier: Apache-2.0

import type { Socket } from "node:net";

/** Counts open sockets, so that `close()` can wait for the last one and leaks can be seen. */
export class SocketCount {
  #count = 0;
  #waiting: (() => void)[] = [];

  get count(): number {
    return this.#count;
  }

  /** Counts the socket until it has closed. */
  add(socket: Socket): void {
    this.#count++;
    socket.once("close", () => {
      this.#count--;
      if (this.#count > 0) return;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const resolve of waiting) resolve();
    });
  }

  /** Resolves when no socket is open. */
  whenNone(): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
