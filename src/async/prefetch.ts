// SPDX-License-Identifier: Apache-2.0

/**
 * Reads one item ahead: while the caller works on an item, the next one is on its way.
 *
 * When the caller leaves early, `stop` is called first, so that a read under way ends instead of
 * being waited for; then the source is returned.
 */
export async function* prefetch<T>(
  source: AsyncIterable<T>,
  stop?: () => void,
): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let ahead = read(iterator);
  // True only while the caller holds an item: if the source itself ended or failed, it is done.
  let isYielding = false;
  try {
    for (;;) {
      const result = await ahead;
      if (result.done === true) return;
      ahead = read(iterator);
      isYielding = true;
      yield result.value;
      isYielding = false;
    }
  } finally {
    if (isYielding) {
      stop?.();
      await iterator.return?.();
    }
  }
}

function read<T>(iterator: AsyncIterator<T>): Promise<IteratorResult<T>> {
  const next = iterator.next();
  // A failed read-ahead is thrown when the caller gets there; until then it is not unhandled.
  next.catch(() => {});
  return next;
}
