// SPDX-License-Identifier: Apache-2.0
// What has to compile of transactions, and what must not. The bodies never run.

import { test } from "node:test";
import type {
  ByteKeys,
  ByteValues,
  Client,
  CommitResult,
  Entry,
  Reader,
  ReadonlyKeyMap,
  Snapshot,
  Timestamp,
  Transaction,
} from "../../mod.ts";
import { codec, TransactionDetails } from "../../mod.ts";

interface User {
  readonly name: string;
}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;

/** `same<A>()(value, true)` compiles only if the value has exactly this type. */
function same<A>(): <B>(value: B, isSame: Equal<A, B>) => void {
  return () => {};
}

const users = { key: codec.utf8, value: codec.json<User>() };

function ofTheCall(client: Client): void {
  same<Promise<number>>()(client.transaction(() => 1), true);
  same<Promise<string | undefined>>()(
    client.transaction((txn) => txn.sub("", users).get("1").then((user) => user?.name)),
    true,
  );
  same<Promise<void>>()(client.transaction((txn) => txn.put("k", "v")), true);
  const details = new TransactionDetails();
  void client.transaction(() => {}, { maxAttempts: 3, pessimisticAfter: 1, mode: "pessimistic", details });
  // @ts-expect-error every attempt has a timestamp of its own
  void client.transaction(() => {}, { startTs: 1n as Timestamp });
  // @ts-expect-error there is no such mode
  void client.begin({ mode: "eager" });
  // @ts-expect-error begin() does not run anything again
  void client.begin({ maxAttempts: 3 });
  // @ts-expect-error a number of milliseconds is no bigint
  void client.transaction(() => {}, { timeoutMs: 5n });
}

function ofViews(txn: Transaction): void {
  same<Promise<Uint8Array | undefined>>()(txn.get("k"), true);
  const view = txn.sub("user/", users);
  same<Promise<User | undefined>>()(view.get("1"), true);
  same<Promise<User | undefined>>()(view.getForUpdate("1"), true);
  same<Promise<ReadonlyKeyMap<User, string>>>()(view.batchGet(["1"]), true);
  same<Promise<Entry<string, User>[]>>()(view.scan({ prefix: "1" }).toArray(), true);
  same<Promise<string[]>>()(view.scanKeys({}).toArray(), true);
  same<Promise<number>>()(view.statement((before) => before.get("1").then(() => 1)), true);
  same<Promise<CommitResult>>()(view.commit(), true);
  view.put("1", { name: "Ada" });
  // @ts-expect-error the value is a user
  view.put("1", "Ada");
  // @ts-expect-error the key is a string
  view.put(new Uint8Array(1), { name: "Ada" });
  // @ts-expect-error writes are not awaited
  view.put("1", { name: "Ada" }).then;
  // @ts-expect-error a statement reads, it does not write through what it gets
  void view.statement((before) => before.put("1", { name: "Ada" }));
}

function ofReaders(txn: Transaction, snapshot: Snapshot): void {
  const first = async (kv: Reader): Promise<Entry | undefined> =>
    (await kv.scan({}, { limit: 1 }).toArray())[0];
  void first(txn);
  void first(snapshot);
  const typed = (kv: Reader<typeof users.key, typeof users.value>): Promise<User | undefined> => kv.get("1");
  void typed(txn.sub("", users));
  void typed(snapshot.sub("", users));
  // @ts-expect-error a reader of bytes is none of users
  void typed(txn);
  const write = (target: Transaction): void => target.put("k", "v");
  write(txn);
  // @ts-expect-error a snapshot cannot be written
  write(snapshot);
  const generic = <K extends ByteKeys, V extends ByteValues>(kv: Transaction<K, V>): number => kv.keyCount;
  generic(txn);
}

test("the types of transactions are what they are meant to be", () => {
  void [ofTheCall, ofViews, ofReaders];
});
