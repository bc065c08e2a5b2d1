// SPDX-License-Identifier: Apache-2.0
// The bank in real time: on the cluster that TIKV_PD_ADDRS names, else on an embedded one with ports.
// TIKV_API_VERSION (1 or 2) and TIKV_KEYSPACE are as in the contract suite. It ends by itself.

import assert from "node:assert/strict";
import { env } from "node:process";
import { test } from "node:test";
import { type Client, codec, connect, type ConnectOptions, TikvError, type Transaction } from "../../mod.ts";
import { Playground } from "../../src/playground/mod.ts";
import { SeededRandom } from "../../src/testing/mod.ts";
import { UndeterminedError } from "../../src/errors.ts";

const { TIKV_PD_ADDRS: addresses, TIKV_API_VERSION: version, TIKV_KEYSPACE: keyspace, TIKV_SEED } = env;

/**
 * Unistore takes a timestamp for an async commit, or one in one phase, and writes the lock after that: a
 * reader in between misses it, and sees half a transaction (`prewriteMutations` in its `mvcc.go`).
 */
const COMMITS = env.TIKV_SERVER_PROFILE === "unistore"
  ? ["2pc"] as const
  : ["auto", "async", "2pc", "1pc"] as const;

const ACCOUNTS = ["a", "b", "g", "m", "s", "z"];
const EACH = 100n;
const WORKERS = 6;
const TRANSFERS = 20;
const LIMIT_MS = 60_000;

/** Others may use the cluster, and this test may have run before. */
const PREFIX = `model-bank/${Date.now()}/`;

function accountsOf(txn: Transaction): Transaction<typeof codec.utf8, typeof codec.int64> {
  return txn.sub(PREFIX, { key: codec.utf8, value: codec.int64 });
}

async function open(): Promise<{ readonly clients: Client[]; readonly close: () => Promise<void> }> {
  const isEmbedded = addresses === undefined || addresses === "";
  const cluster = isEmbedded ? await Playground.start({ stores: 3, mode: "txn", ports: {} }) : undefined;
  const options: ConnectOptions = {
    mode: "txn",
    apiVersion: version === "2" || version === "v2" ? 2 : 1,
    keyspace,
  };
  const target = cluster?.pdAddresses ?? (addresses ?? "").split(",");
  const clients = [await connect([...target], options), await connect([...target], options)];
  return {
    clients,
    close: async () => {
      for (const client of clients) await client.close();
      await cluster?.close();
    },
  };
}

async function total(txn: Transaction): Promise<bigint> {
  const balances = await accountsOf(txn).batchGet(ACCOUNTS);
  return ACCOUNTS.reduce((sum, key) => sum + (balances.get(key) ?? 0n), 0n);
}

test(`bank in real time: no transfer changes how much money there is`, async () => {
  const seed = Number(TIKV_SEED ?? 1);
  const random = new SeededRandom(seed);
  const { clients, close } = await open();
  const expected = EACH * BigInt(ACCOUNTS.length);
  const outcomes: Record<string, number> = {};
  try {
    const [first] = clients as [Client];
    await first.transaction((txn) => {
      const accounts = accountsOf(txn);
      for (const key of ACCOUNTS) accounts.put(key, EACH);
    });
    await first.pd.split([`${PREFIX}b`, `${PREFIX}m`]);
    const signal = AbortSignal.timeout(LIMIT_MS);
    const work = async (client: Client): Promise<void> => {
      for (let i = 0; i < TRANSFERS; i++) {
        const outcome = await transfer(client, { random, signal, expected });
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, (_, i) => work(clients[i % clients.length] ?? first)));
    for (const client of clients) {
      assert.equal(await client.transaction(total), expected, `seed ${seed}`);
    }
    await first.transaction((txn) => {
      const accounts = accountsOf(txn);
      for (const key of ACCOUNTS) accounts.delete(key);
    });
  } finally {
    await close();
  }
  console.log(`bank in real time: ${JSON.stringify(outcomes)}`);
  assert.ok((outcomes["committed"] ?? 0) > WORKERS * TRANSFERS / 2);
});

async function transfer(
  client: Client,
  { random, signal, expected }: {
    readonly random: SeededRandom;
    readonly signal: AbortSignal;
    readonly expected: bigint;
  },
): Promise<string> {
  const from = random.pick(ACCOUNTS);
  const to = random.pick(ACCOUNTS.filter((key) => key !== from));
  const amount = BigInt(1 + random.int(9));
  const mode = random.pick(["optimistic", "pessimistic"] as const);
  const commit = random.pick<(typeof COMMITS)[number]>(COMMITS);
  const isAudit = random.int(3) === 0;
  try {
    await client.transaction(async (txn) => {
      const accounts = accountsOf(txn);
      if (isAudit) assert.equal(await total(txn), expected);
      const both = await accounts.batchGetForUpdate([from, to]);
      accounts.put(from, (both.get(from) ?? 0n) - amount);
      accounts.put(to, (both.get(to) ?? 0n) + amount);
    }, { mode, commit, signal, maxAttempts: 30 });
    return "committed";
  } catch (error) {
    if (error instanceof UndeterminedError) {
      // Money moves or it does not, whichever: somebody has to be able to tell.
      const fate = await error.resolve();
      assert.notEqual(fate.state, "unknown");
      return fate.state;
    }
    if (!TikvError.is(error)) throw error;
    return error.kind;
  }
}
