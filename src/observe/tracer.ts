// SPDX-License-Identifier: Apache-2.0
// The part of OpenTelemetry's tracing API that is used here, by structure, so that a real tracer
// fits as it is and nothing is imported for it.

/** What a span attribute may hold. */
export type SpanValue = string | number | boolean;

/** The subset of an OpenTelemetry `Span` that is used. */
export interface SpanLike {
  /** Adds a fact to the span. */
  setAttribute(name: string, value: SpanValue): unknown;
  /** Notes something that happened at this moment. */
  addEvent?(name: string, attributes?: Record<string, SpanValue>): unknown;
  /** Notes an error. */
  recordException?(error: Error): unknown;
  /** Says how the work ended; 2 is an error. */
  setStatus?(status: { code: number; message?: string }): unknown;
  /** Ends the span. */
  end(): void;
}

/** The subset of an OpenTelemetry `Tracer` that is used. */
export interface TracerLike {
  /** Begins a span. */
  startSpan(name: string, options?: { kind?: number; attributes?: Record<string, SpanValue> }): SpanLike;
}

/** OpenTelemetry's number for a span that describes an outgoing call. */
export const SPAN_KIND_CLIENT = 2;

const STATUS_ERROR = 2;

/** Runs `work` inside a span of `tracer`; without a tracer it only runs it. */
export async function traced<T>(
  tracer: TracerLike | undefined,
  name: string,
  options: { readonly attributes?: Record<string, SpanValue>; readonly work: () => Promise<T> },
): Promise<T> {
  if (tracer === undefined) return await options.work();
  const attributes = { ...options.attributes };
  const span = guarded(() => tracer.startSpan(name, { kind: SPAN_KIND_CLIENT, attributes }));
  try {
    return await options.work();
  } catch (error) {
    guarded(() => {
      if (error instanceof Error) span?.recordException?.(error);
      span?.setStatus?.({ code: STATUS_ERROR });
    });
    throw error;
  } finally {
    guarded(() => span?.end());
  }
}

// A tracer must not be able to fail an operation, nor to hide what became of it.
function guarded<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
