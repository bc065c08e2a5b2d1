// SPDX-License-Identifier: Apache-2.0
// Which seeds a model is run with. Each run has fresh ones unless the environment names them:
// `TIKV_SEED=7` plays one, `TIKV_SEEDS=500` many; `TIKV_SEED=7 TIKV_SEEDS=500` those from 7 on.

import { env } from "node:process";

/**
 * Runs a model with each seed. A failure tells how to see it again. Resolves to whether the seeds were
 * those of the gate, so that something can be expected of all of them together.
 */
export async function forEachSeed(
  count: number,
  model: (seed: number) => Promise<void>,
): Promise<boolean> {
  const first = numberOf("TIKV_SEED");
  const many = numberOf("TIKV_SEEDS") ?? (first === undefined ? count : 1);
  for (let i = 0; i < many; i++) {
    const seed = (first ?? FIRST_SEED) + i;
    try {
      await model(seed);
    } catch (error) {
      throw new Error(`seed ${seed} fails, see it again with TIKV_SEED=${seed}: ${String(error)}`, {
        cause: error,
      });
    }
  }
  return first === undefined && many === count;
}

function numberOf(name: string): number | undefined {
  const text = env[name];
  if (text === undefined || text === "") return undefined;
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) {
    throw new RangeError(`Cannot use ${name}="${text}": expected a whole number`);
  }
  return number;
}

// The gate plays the same histories each time; nights play others.
const FIRST_SEED = 1;
