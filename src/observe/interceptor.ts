// SPDX-License-Identifier: Apache-2.0

/** One attempt of a request, as an interceptor sees it. */
export interface InterceptedCall {
  /** Name of the RPC, such as `"RawGet"`. */
  readonly method: string;
  /** 1 for the first attempt of the operation. */
  readonly attempt: number;
  /** The public operation that the attempt belongs to, such as `"raw.get"`. */
  readonly operation: string;
  /** The store that is called. */
  readonly store?: { readonly id?: bigint | undefined; readonly address: string } | undefined;
  /** The region that is asked. */
  readonly regionId?: bigint | undefined;
  /** The body of the request. Treat it as read-only: it is sent again when the attempt fails. */
  readonly request: unknown;
  /** Aborted when the operation was. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Wraps each attempt of each request to a store: it runs once per attempt, before requests are
 * batched, so what it measures includes the wait for a batch. What it returns or throws is what the
 * attempt returns or throws. The first one in the list is the outermost.
 */
export type Interceptor = (
  call: InterceptedCall,
  next: (call: InterceptedCall) => Promise<unknown>,
) => Promise<unknown>;
