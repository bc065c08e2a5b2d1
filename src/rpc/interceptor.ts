// SPDX-License-Identifier: Apache-2.0

import type { InterceptedCall, Interceptor } from "../observe/interceptor.ts";

export type { InterceptedCall, Interceptor } from "../observe/interceptor.ts";

/** Makes one function of a list of interceptors around `send`. */
export function intercept(
  interceptors: readonly Interceptor[],
  send: (call: InterceptedCall) => Promise<unknown>,
): (call: InterceptedCall) => Promise<unknown> {
  let next = send;
  for (let index = interceptors.length - 1; index >= 0; index--) {
    const interceptor = interceptors[index];
    if (interceptor === undefined) continue;
    const inner = next;
    next = (call) => interceptor(call, inner);
  }
  return next;
}
