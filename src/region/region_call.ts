// SPDX-License-Identifier: Apache-2.0

import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { BackoffName } from "../async/backoff.ts";
import type { Operation } from "../async/operation.ts";
import { type ErrorContext, TikvError, UndeterminedError } from "../errors.ts";
import { RpcError } from "../rpc/grpc_status.ts";
import type { CommandName } from "../rpc/commands.ts";
import { epochsOf } from "./epoch.ts";
import { type Region, whyUnusable } from "./region.ts";
import { applyEffect } from "./region_effects.ts";
import { classify, REGION_ERRORS, type RegionErrorFacts, type RegionErrorName } from "./region_error.ts";
import { ReplicaSelector, type Target } from "./replica.ts";
import { attempt, type RegionRequest, type SenderOptions } from "./request.ts";
import { STALE, type Stale } from "./stale.ts";
import { actionOfFailure, isCancelledByPeer } from "./transport_failure.ts";

/** How an attempt ended: with a reply, which may carry a region error, or without one. */
export type Outcome<O> = { readonly reply: O } | { readonly error: unknown };

/** What is sent where. */
export interface CallParts<I, O> {
  readonly region: Region;
  readonly request: RegionRequest<I, O>;
  readonly operation: Operation;
}

/** What follows from an attempt that did not succeed. */
interface Verdict {
  /** Name of the reason, for events. */
  readonly reason: string;
  readonly next: "same" | "next-replica" | "relocate";
  readonly cause: unknown;
  /** A wait was taken, so the same replica may be asked at once. */
  readonly hasWaited: boolean;
  /** The region can be looked up again without a wait. */
  readonly isSettled: boolean;
}

/** A request to a region from its first trouble on: replica after replica, until one has answered. */
export class RegionCall<I, O> {
  readonly #options: SenderOptions;
  readonly #parts: CallParts<I, O>;
  readonly #selector: ReplicaSelector;
  // A follower did not have the region: the leader is asked although the region was given up.
  #mayUseInvalid = false;
  // Attempts in a row without a wait in between.
  #hastyAttempts = 0;
  #attempts = 0;

  constructor(options: SenderOptions, parts: CallParts<I, O>) {
    const { settings, stores } = options;
    const { clock, random } = settings.environment;
    this.#options = options;
    this.#parts = parts;
    const isRead = READS.has(parts.request.command.name);
    this.#selector = new ReplicaSelector(parts.region, {
      random,
      isTimedRead: isRead,
      enableForwarding: settings.enableForwarding === true,
      route: isRead ? parts.request.options.route : undefined,
      isSlow: (store) => stores.isSlow(store),
      now: () => clock.now(),
    });
  }

  /** Goes on after a first attempt at the leader. */
  async runAfter(outcome: Outcome<O>): Promise<O | Stale> {
    const target = this.#selector.adopt();
    const reply = this.#answerOf(target, outcome);
    if (reply !== undefined) return reply.value;
    return await this.#goOn(target, await this.#judge(target, outcome));
  }

  /** Starts with whatever replica can be asked. */
  async run(): Promise<O | Stale> {
    return await this.#goOn(undefined, undefined);
  }

  async #goOn(last: Target | undefined, verdict: Verdict | undefined): Promise<O | Stale> {
    const { region, operation } = this.#parts;
    for (;;) {
      // Somebody else may have found out meanwhile that the region is gone.
      if (verdict?.next === "relocate" || (!region.isValid && !this.#mayUseInvalid)) {
        return await this.#giveUp(verdict);
      }
      const target = verdict?.next === "same" && last !== undefined
        ? this.#selector.again(last)
        : this.#selector.next();
      if (target === undefined) return await this.#giveUp(verdict);
      if (!target.replica.peer.store.hasAddress) {
        this.#options.regions.invalidate(region, "store-not-found");
        return await this.#giveUp(verdict);
      }
      await this.#beforeNext(target, last, verdict);
      const outcome = await this.#try(target);
      const reply = this.#answerOf(target, outcome);
      if (reply !== undefined) return reply.value;
      last = target;
      verdict = await this.#judge(target, outcome);
      operation.deadline.throwIfOver(`send ${this.#parts.request.command.name}`);
    }
  }

  // Waits that the replica is owed, and never asks the same one twice without any wait. Replicas that
  // name each other as the leader, or a leader that moves faster than it can be followed, would
  // otherwise be asked as fast as they answer until the deadline.
  async #beforeNext(target: Target, last: Target | undefined, verdict: Verdict | undefined): Promise<void> {
    const { replica } = target;
    const { owed } = replica;
    this.#hastyAttempts = verdict?.hasWaited === true ? 0 : this.#hastyAttempts + 1;
    if (owed !== undefined) {
      replica.owed = undefined;
      await this.#wait(owed.backoff, owed.cause);
    } else if (
      verdict?.hasWaited === false &&
      (last?.replica === replica || this.#hastyAttempts > MAX_HASTY_ATTEMPTS)
    ) {
      await this.#wait("regionScheduling", verdict.cause);
    }
  }

  async #try(target: Target): Promise<Outcome<O>> {
    const { region, request, operation } = this.#parts;
    this.#attempts++;
    // Throws here when nothing was sent, and rejects when something was.
    const answer = attempt(this.#options, {
      region,
      peer: target.replica.peer,
      request,
      operation,
      kind: target.kind,
      busyThresholdMs: target.busyThresholdMs,
      proxy: target.proxy?.peer,
    });
    try {
      return { reply: await answer };
    } catch (error) {
      return { error };
    } finally {
      if (request.options.route?.mode === "prefer-leader") {
        this.#options.stores.recordRead(target.replica.peer.store, this.#sinceSent());
      }
    }
  }

  #sinceSent(): number {
    return this.#options.settings.environment.clock.now() - this.#parts.request.sentAt;
  }

  // The reply in the caller's keys, unless it carries an error of the region.
  #answerOf(target: Target, outcome: Outcome<O>): { readonly value: O } | undefined {
    if ("error" in outcome || regionErrorIn(outcome.reply) !== undefined) return undefined;
    const { region, request, operation } = this.#parts;
    if (target.proxy !== undefined) region.proxyIndex = target.proxy.index;
    // Whoever answers what only the leader may answer is the leader.
    if (target.state === "probe" || target.state === "suspect") {
      this.#options.regions.updateLeader(region, target.replica.index);
    }
    operation.isMaybeExecuted = false;
    const { route, onAnswer } = request.options;
    if (route !== undefined && onAnswer !== undefined) {
      const isLeader = target.replica === this.#selector.leader;
      onAnswer({ isLeader, isStale: route.isStale, isFirst: this.#attempts === 1 });
    }
    return { value: this.#options.api.decodeReply(request.command.name, outcome.reply) };
  }

  async #judge(target: Target, outcome: Outcome<O>): Promise<Verdict> {
    target.replica.attemptedMs += this.#sinceSent();
    if ("error" in outcome) return await this.#judgeFailure(target, outcome.error);
    const decoded = this.#options.api.decodeReply(this.#parts.request.command.name, outcome.reply);
    const error = regionErrorIn(decoded);
    if (error === undefined) {
      throw new TikvError("protocol", "Cannot use the reply: its region error is gone");
    }
    return await this.#judgeRegionError(target, error);
  }

  async #judgeFailure(target: Target, error: unknown): Promise<Verdict> {
    const { request, operation } = this.#parts;
    const { command } = request;
    const { deadline } = operation;
    const isLost = command.isWrite && isMaybeExecuted(error);
    if (isLost) operation.isMaybeExecuted = true;
    // The caller left, or ran out of time: nothing is tried any more, nor found out.
    if (deadline.isAborted) throw deadline.signal?.reason;
    if (isLost && !command.isIdempotent) {
      throw new UndeterminedError(`Cannot tell whether ${command.name} took effect: its answer was lost`, {
        cause: error,
        context: this.#context(target),
      });
    }
    if (deadline.isOver()) throw deadline.timeoutError(`send ${command.name}`, error);
    if (actionOfFailure(error) === "fatal") throw error;
    if (isCancelledByPeer(error) && error.connection !== undefined) {
      this.#options.client.closeAddress(error.connection.address, error.connection.version);
    }
    const isTimeout = TikvError.is(error) && error.kind === "timeout";
    if (isTimeout && READS.has(command.name)) {
      target.replica.isTimedOut = true;
      this.#tell("deadlineExceeded", target);
      return {
        reason: "deadlineExceeded",
        next: "next-replica",
        cause: error,
        hasWaited: false,
        isSettled: false,
      };
    }
    // It accepted the request and said nothing, twice: it may have lost its group.
    if (isTimeout) this.#selector.onDoubt(target.replica);
    await this.#probe(target);
    const passesOn = this.#selector.readsReplicas;
    if (passesOn) {
      target.replica.owed = { backoff: "tikvRPC", cause: error };
      this.#tell("tikvRPC", target);
    } else await this.#wait("tikvRPC", error, target);
    return { reason: "tikvRPC", next: "next-replica", cause: error, hasWaited: !passesOn, isSettled: false };
  }

  async #probe({ replica, proxy }: Target): Promise<void> {
    const { stores, settings } = this.#options;
    const { store } = (proxy ?? replica).peer;
    // With forwarding the leader stays the target although it cannot be reached from here.
    const keepsEpoch = settings.enableForwarding === true && proxy === undefined;
    await stores.onSendFailure(store, this.#parts.operation.deadline, { keepsEpoch });
  }

  async #judgeRegionError(target: Target, error: RegionError): Promise<Verdict> {
    const { region, operation } = this.#parts;
    const name = classify(error, this.#factsOf(target, error));
    const row = REGION_ERRORS[name];
    const cause = this.#errorOf(name, target, error);
    if (row.invalidates !== undefined) this.#options.regions.invalidate(region, row.invalidates);
    if (row.effect === "leader-once") this.#mayUseInvalid = true;
    const { replica, proxy } = target;
    await applyEffect(row.effect, this.#options, {
      region,
      operation,
      error,
      replica,
      proxy,
      selector: this.#selector,
    });
    if (row.next === "fatal") {
      if (row.kind === "undetermined") operation.isMaybeExecuted = true;
      throw cause;
    }
    // What only has to pass at this replica need not be waited for when others can answer as well.
    const isMoved = row.next === "same" && this.#selector.readsReplicas;
    // An error of the region itself means that this attempt was not executed.
    let hasWaited = false;
    if (row.backoff !== undefined) {
      if ((row.isOwed === true || isMoved) && this.#selector.canGoElsewhere()) {
        replica.owed = { backoff: row.backoff, cause };
      } else {
        await this.#wait(row.backoff, cause, target);
        hasWaited = true;
      }
    }
    if (!hasWaited) this.#tell(name, target);
    const next = isMoved ? "next-replica" : row.next;
    return { reason: name, next, cause, hasWaited, isSettled: row.isSettled === true };
  }

  #factsOf(target: Target, error: RegionError): RegionErrorFacts {
    const { region, request } = this.#parts;
    return {
      isWrite: request.command.isWrite,
      isTimedRead: READS.has(request.command.name),
      isReplicaRead: target.kind !== "plain" && target.replica !== this.#selector.leader,
      hasBusyThreshold: target.busyThresholdMs > 0,
      isLeaderUntried: this.#selector.leader.attempts === 0,
      hint: this.#hintOf(error),
      epochs: epochsOf(region, error),
    };
  }

  #hintOf(error: RegionError): RegionErrorFacts["hint"] {
    const leader = error.notLeader?.leader;
    if (leader === undefined || leader.id === 0n) return "none";
    const { region } = this.#parts;
    const peer = region.peers[region.indexOfPeer(leader)];
    if (peer === undefined) return "unknown";
    return peer.store.liveness === "reachable" ? "usable" : "unreachable";
  }

  async #giveUp(verdict: Verdict | undefined): Promise<Stale> {
    const { region } = this.#parts;
    const { regions, stores, settings } = this.#options;
    const cause = verdict?.cause ??
      new TikvError("region-unavailable", whyUnusable(region), {
        context: { regionId: region.id },
      });
    if (verdict?.next !== "relocate" && this.#selector.state === "exhausted") {
      const owed = this.#selector.largestOwed();
      if (owed !== undefined) await this.#wait(owed.backoff, owed.cause);
      if (settings.enableForwarding === true && region.leader.store.liveness !== "reachable") {
        stores.invalidate(region.leader.store);
        region.reload = "on-access";
      } else if (!this.#selector.hasTimedOut) {
        regions.invalidate(region, this.#reasonOfEnd());
      }
    }
    if (verdict?.isSettled !== true) await this.#wait("regionMiss", cause);
    return STALE;
  }

  #reasonOfEnd(): "no-leader" | "other" {
    return this.#selector.leader.isNotLeader ? "no-leader" : "other";
  }

  async #wait(name: BackoffName, cause: unknown, target?: Target): Promise<void> {
    const { region, operation } = this.#parts;
    await operation.backoffs.wait(name, cause, {
      regionId: region.id,
      storeId: target?.replica.peer.storeId,
    });
  }

  // A retry without a wait is told here, others are told by the wait.
  #tell(reason: string, target: Target): void {
    const { region, operation } = this.#parts;
    this.#options.settings.observe({
      type: "retry",
      operation: operation.name,
      reason,
      attempt: operation.attempts,
      waitMs: 0,
      regionId: region.id,
      storeId: target.replica.peer.storeId,
    });
  }

  #errorOf(name: RegionErrorName, target: Target, error: RegionError): TikvError {
    const { request, region } = this.#parts;
    const { kind } = REGION_ERRORS[name];
    // Both the text and the fields may name keys of the user.
    const isShown = this.#options.settings.revealKeys === true || !namesKeys(error);
    const seen = error.message === "" || !isShown ? name : `${name}: ${error.message}`;
    const message = `Cannot call ${request.command.name} in region ${region.id}: ${seen}`;
    const options = { context: this.#context(target), cause: isShown ? error : undefined };
    return kind === "undetermined"
      ? new UndeterminedError(message, options)
      : new TikvError(kind, message, options);
  }

  #context({ replica }: Target): ErrorContext {
    const { region, request } = this.#parts;
    const { storeId, store } = replica.peer;
    return { method: request.command.name, regionId: region.id, storeId, address: store.address };
  }
}

function regionErrorIn(reply: unknown): RegionError | undefined {
  return (reply as { readonly regionError?: RegionError | undefined }).regionError;
}

function namesKeys({ keyNotInRegion, epochNotMatch, bucketVersionNotMatch }: RegionError): boolean {
  return keyNotInRegion !== undefined || bucketVersionNotMatch !== undefined ||
    (epochNotMatch !== undefined && epochNotMatch.currentRegions.length > 0);
}

// Unless it is certain that the request never arrived.
function isMaybeExecuted(error: unknown): boolean {
  if (error instanceof RpcError) return error.isMaybeExecuted;
  return !TikvError.is(error) || error.kind === "timeout" || error.kind === "connection";
}

/** Reads that a replica may answer from its own data (REG-077). */
const READS: ReadonlySet<CommandName> = new Set<CommandName>([
  "KvGet",
  "KvBatchGet",
  "KvScan",
  "Coprocessor",
]);

/** As many as a leader that has moved needs, with some to spare. */
const MAX_HASTY_ATTEMPTS = 5;
