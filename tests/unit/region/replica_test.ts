// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { peerOf, Region } from "../../../src/region/region.ts";
import {
  ReplicaSelector,
  SELECTOR_MOVES,
  type SelectorState,
  type Target,
} from "../../../src/region/replica.ts";
import { CachedStore } from "../../../src/region/store.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { peerMeta, regionMeta } from "./region_world.ts";

interface Options {
  readonly isTimedRead?: boolean;
  readonly enableForwarding?: boolean;
  readonly learners?: readonly bigint[];
}

/** A region on three stores whose first peer leads, and a selector for it. */
function setup(options: Options = {}): { region: Region; selector: ReplicaSelector } {
  const meta = regionMeta(1n, "", "");
  const peers = [1n, 2n, 3n].map((id) =>
    peerOf({
      ...peerMeta(1n, id),
      role: options.learners?.includes(id) === true ? "learner" : "voter",
    }, new CachedStore(id))
  );
  const region = new Region({ meta, peers, leaderIndex: 0 });
  const selector = new ReplicaSelector(region, {
    random: new SeededRandom(3),
    isTimedRead: options.isTimedRead ?? false,
    enableForwarding: options.enableForwarding ?? false,
    isSlow: () => false,
    now: () => 0,
  });
  return { region, selector };
}

function storeOf(region: Region, index: number): CachedStore {
  return region.peers[index]?.store as CachedStore;
}

const shown = (target: Target | undefined): string =>
  target === undefined ? "none" : `${target.state} ${target.replica.peer.storeId}`;

function next(selector: ReplicaSelector): Target {
  const target = selector.next();
  assert.ok(target !== undefined);
  return target;
}

describe("ReplicaSelector", () => {
  it("[REG-070] asks the leader up to ten times, then each other peer once", () => {
    const { selector } = setup();
    const asked = Array.from({ length: 13 }, () => shown(selector.next()));
    assert.deepEqual(asked.slice(0, 10), Array(10).fill("leader 1"));
    assert.deepEqual(asked.slice(10, 12).sort(), ["probe 2", "probe 3"]);
    assert.equal(asked[12], "none");
    assert.equal(selector.state, "exhausted");
  });

  it("[REG-070] asks the leader for 50 s at most", () => {
    const { selector } = setup();
    next(selector).replica.attemptedMs += 49_999;
    assert.equal(shown(selector.next()), "leader 1");
    selector.leader.attemptedMs += 1;
    assert.match(shown(selector.next()), /^probe/);
  });

  it("[REG-070] trap 10: a leader that cannot be asked is looked for with plain leader requests", () => {
    for (const spoil of ["dead", "stale", "denied"] as const) {
      const { region, selector } = setup();
      if (spoil === "dead") storeOf(region, 0).liveness = "unreachable";
      if (spoil === "stale") storeOf(region, 0).epoch++;
      if (spoil === "denied") next(selector).replica.isNotLeader = true;
      const target = next(selector);
      assert.equal(target.state, "probe", spoil);
      assert.equal(target.kind, "plain");
    }
  });

  it("[REG-071] trap 12: the leader has to be reachable for certain, others only not certainly dead", () => {
    const { region, selector } = setup();
    for (const index of [0, 1, 2]) storeOf(region, index).liveness = "unknown";
    const asked = Array.from({ length: 4 }, () => shown(selector.next()));
    assert.deepEqual(asked.slice(0, 3).sort(), ["probe 1", "probe 2", "probe 3"]);
    assert.equal(asked[3], "none");
  });

  it("[REG-070] dead and stale peers are not asked; learners come last", () => {
    const dead = setup();
    dead.selector.leader.isNotLeader = true;
    storeOf(dead.region, 1).liveness = "unreachable";
    storeOf(dead.region, 2).epoch++;
    assert.equal(shown(dead.selector.next()), "none");
    const learner = setup({ learners: [2n] });
    learner.selector.leader.isNotLeader = true;
    assert.deepEqual([shown(learner.selector.next()), shown(learner.selector.next())], [
      "probe 3",
      "probe 2",
    ]);
  });

  it("[REG-070] a read that the leader took too long for may be answered by a follower, others not", () => {
    for (const isTimedRead of [true, false]) {
      const { selector } = setup({ isTimedRead });
      next(selector).replica.isTimedOut = true;
      const target = next(selector);
      assert.equal(target.state, isTimedRead ? "replica-read" : "probe");
      assert.equal(target.kind, isTimedRead ? "replica" : "plain");
      assert.equal(selector.hasTimedOut, true);
    }
  });

  it("onLeaderOnly() ends reads of followers and forgives the leader", () => {
    const { selector } = setup({ isTimedRead: true });
    next(selector).replica.isTimedOut = true;
    assert.equal(next(selector).state, "replica-read");
    selector.onLeaderOnly();
    assert.equal(shown(selector.next()), "leader 1");
  });

  it("onLeaderKnown() gives the hinted peer one more try, however often it was asked", () => {
    const { region, selector } = setup();
    for (let i = 0; i < 10; i++) next(selector);
    assert.equal(next(selector).state, "probe");
    region.setLeader(0);
    selector.onLeaderKnown(0);
    assert.equal(shown(selector.next()), "leader 1");
    assert.equal(next(selector).state, "probe");
    assert.equal(shown(selector.next()), "none");
  });

  it("[REG-075] two doubts about the leader make another peer be asked, once", () => {
    const { selector } = setup();
    const { replica } = next(selector);
    selector.onDoubt(replica);
    assert.equal(selector.canGoElsewhere(), false);
    assert.equal(shown(selector.next()), "leader 1");
    selector.onDoubt(replica);
    assert.equal(selector.canGoElsewhere(), true);
    assert.equal(next(selector).state, "suspect");
    assert.equal(shown(selector.next()), "leader 1", "the other one did not know better");
    selector.onDoubt(replica);
    selector.onDoubt(replica);
    assert.equal(shown(selector.next()), "leader 1");
  });

  it("[REG-072] a doubtful leader is asked again when nobody else can be", () => {
    const { region, selector } = setup();
    const { replica } = next(selector);
    selector.onDoubt(replica);
    selector.onDoubt(replica);
    for (const index of [1, 2]) storeOf(region, index).liveness = "unreachable";
    assert.equal(shown(selector.next()), "leader 1");
  });

  it("[REG-074] largestOwed() is the wait with the largest base", () => {
    const { selector } = setup();
    assert.equal(selector.largestOwed(), undefined);
    next(selector).replica.owed = { backoff: "regionScheduling", cause: 1 };
    selector.leader.isNotLeader = true;
    next(selector).replica.owed = { backoff: "tikvServerBusy", cause: 2 };
    assert.deepEqual(selector.largestOwed(), { backoff: "tikvServerBusy", cause: 2 });
  });

  it("[REG-070] forwards through another store while the leader cannot be reached", () => {
    const { region, selector } = setup({ enableForwarding: true });
    assert.equal(shown(selector.next()), "leader 1");
    storeOf(region, 0).liveness = "unreachable";
    const through = next(selector);
    assert.equal(through.state, "proxy");
    assert.equal(through.replica.peer.storeId, 1n);
    assert.equal(through.proxy?.peer.storeId, 2n);
    assert.equal(next(selector).proxy?.peer.storeId, 3n, "each proxy once");
    assert.equal(shown(selector.next()), "none");
  });

  it("[REG-070] remembers the proxy that worked, and forgets it when the leader is back", () => {
    const { region, selector } = setup({ enableForwarding: true });
    region.proxyIndex = 2;
    storeOf(region, 0).liveness = "unreachable";
    assert.equal(next(selector).proxy?.peer.storeId, 3n);
    storeOf(region, 0).liveness = "reachable";
    assert.equal(shown(selector.next()), "leader 1");
    assert.equal(region.proxyIndex, -1);
  });

  it("again() stays with a replica until it has no attempts left or its store died", () => {
    const { region, selector } = setup();
    const first = next(selector);
    assert.equal(selector.again(first), first);
    assert.equal(first.replica.attempts, 2);
    storeOf(region, 0).epoch++;
    assert.match(shown(selector.again(first)), /^probe/);
  });

  it("nothing leads out of the final state, and every state can be reached and left", () => {
    assert.deepEqual(SELECTOR_MOVES.exhausted, []);
    const states = Object.keys(SELECTOR_MOVES) as SelectorState[];
    for (const state of states.filter((one) => one !== "exhausted")) {
      const moves: readonly SelectorState[] = SELECTOR_MOVES[state];
      assert.ok(moves.includes("exhausted"), `${state} ends`);
      assert.ok(
        states.some((from) => (SELECTOR_MOVES[from] as readonly SelectorState[]).includes(state)),
        state,
      );
    }
  });
});
