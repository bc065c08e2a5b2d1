// SPDX-License-Identifier: Apache-2.0

import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { PD } from "../../gen/pdpb_pb.ts";
import type { Environment, Timer } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import { Operation } from "../async/operation.ts";
import { TikvError } from "../errors.ts";
import type { CallOptions } from "../types.ts";
import type { Observer } from "../observe/events.ts";
import type { Metadata } from "../rpc/transport.ts";
import { CallScope } from "./call_scope.ts";
import { Members, type Membership } from "./members.ts";
import type { PdAddresses } from "./pd_address.ts";
import { PdChannel, type PdChannelOptions } from "./pd_channel.ts";
import { actionOf, isUnreachable, mayHaveHappened } from "./pd_error.ts";

/** Options of a new {@linkcode PdLink}. */
export interface PdLinkOptions extends PdChannelOptions {
  readonly endpoints: PdAddresses;
  readonly isTls: boolean;
  /** Time for one request to one member. */
  readonly pdTimeoutMs: number;
  /** Lets members that do not lead answer questions about regions. */
  readonly allowFollowers: boolean;
  /** Sends calls through another member while the leader cannot be reached. */
  readonly allowForwarding: boolean;
}

/** Options of one call to PD, with all its attempts. */
export interface PdCall {
  readonly deadline: Deadline;
  /** Which attempts and waits these count for; a call without one is its own operation. */
  readonly operation?: Operation | undefined;
  /** The answer may be lost after PD did what was asked: the error then says so. */
  readonly isWrite?: boolean | undefined;
  /** Asks the leader of PD only: followers may be behind. */
  readonly leaderOnly?: boolean | undefined;
  /** Time for one attempt when it is not the usual one. */
  readonly attemptTimeoutMs?: number | undefined;
}

/** Runs one public call: checks its options, and gives its deadline and its errors their context. */
export type PdRun = <T>(
  name: string,
  options: CallOptions,
  work: (call: PdOperationCall) => Promise<T>,
) => Promise<T>;

/** A call that a public one makes. */
export interface PdOperationCall extends PdCall {
  readonly operation: Operation;
}

interface Attempts {
  readonly allowFollower?: boolean;
  /** Whether a request is under way that may be executed. */
  readonly attempt: { isOpen: boolean };
}

/** Which member is called, and what it is told to do with the call. */
export interface PdRoute {
  readonly address: string;
  readonly metadata?: Metadata | undefined;
  readonly isFollower: boolean;
}

/** The fields of each request's header. */
export interface PdHeader {
  readonly clusterId: bigint;
  readonly callerId: string;
}

/**
 * Calls whoever leads PD, through leader changes and lost connections, until the deadline. All
 * calls are repeatable: PD's writes set a value, they do not add to one.
 */
export class PdLink {
  readonly channel: PdChannel;
  readonly members: Members;
  readonly scope: CallScope = new CallScope();
  readonly environment: Environment;
  readonly observe: Observer;
  readonly options: PdLinkOptions;
  /** Until when followers are passed over, by address. */
  readonly #avoided = new Map<string, number>();
  #turn = 0;
  /** The next look at a leader that could not be reached; calls are forwarded until it answers. */
  #probe: Timer | undefined;

  constructor(options: PdLinkOptions) {
    this.options = options;
    this.environment = options.environment;
    this.observe = options.observe;
    this.channel = new PdChannel(options);
    this.members = new Members({
      channel: this.channel,
      environment: options.environment,
      observe: options.observe,
      seeds: options.endpoints.addresses,
      isTls: options.isTls,
      attemptTimeoutMs: options.pdTimeoutMs,
    });
    this.members.onLeader(() => this.#stopProbe());
  }

  /** The header that a request carries. */
  get header(): PdHeader {
    return { clusterId: this.members.current.clusterId, callerId: CALLER_ID };
  }

  /** Calls a method of PD. Rejects when the deadline passes or trying again cannot help. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    call: PdCall & { readonly allowFollower?: boolean },
  ): Promise<MessageShape<O>> {
    const attempt = { isOpen: false };
    try {
      return await this.scope.run(
        call.deadline,
        `call ${method.name} of PD`,
        (deadline) => this.#run(method, request, { ...call, deadline, attempt }),
      );
    } catch (error) {
      // The scope does not wait for the attempt to hear that it was ended.
      if (attempt.isOpen && call.isWrite === true && call.operation !== undefined) {
        call.operation.isMaybeExecuted = true;
      }
      throw error;
    }
  }

  /** Asks the members who is in PD, and who leads it. */
  askMembers({ deadline, operation: whole }: PdCall): Promise<Membership> {
    return this.scope.run(deadline, "ask PD for its members", async (deadline) => {
      const operation = whole?.fork({ deadline }) ?? this.operation("pd.members", deadline);
      for (;;) {
        operation.attempts++;
        try {
          return await this.members.refresh(deadline);
        } catch (error) {
          if (deadline.isOver() || actionOf(error) === "fail") throw error;
          await wait(operation, error);
        }
      }
    });
  }

  /** Where a call to the leader goes: to it, or through a follower while it cannot be reached. */
  leaderRoute(): PdRoute {
    const { leader } = this.members.current;
    if (this.#probe !== undefined) {
      const follower = this.#follower();
      const metadata = { "pd-forwarded-host": leader.url };
      if (follower !== undefined) return { address: follower, metadata, isFollower: true };
    }
    return { address: leader.address, isFollower: false };
  }

  /** Notes that an attempt on this route failed, so that the next one takes another if there is one. */
  noteFailure(route: PdRoute, error: unknown): void {
    if (route.isFollower) {
      this.#avoided.set(route.address, this.environment.clock.now() + AVOID_FOLLOWER_MS);
    } else if (this.options.allowForwarding && isUnreachable(error)) {
      this.#probeLeader(route.address);
    }
  }

  /** Ends every call and the refresh of members. */
  close(): void {
    this.#stopProbe();
    this.scope.close();
    this.members.close();
  }

  async #run<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    call: PdCall & Attempts,
  ): Promise<MessageShape<O>> {
    const { deadline, operation: whole } = call;
    const operation = whole?.fork({ deadline }) ?? this.operation(`pd.${method.localName}`, deadline);
    try {
      return await this.#attempts(method, request, { ...call, operation });
    } finally {
      whole?.join(operation);
    }
  }

  async #attempts<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    call: PdOperationCall & Attempts,
  ): Promise<MessageShape<O>> {
    const { deadline, operation } = call;
    const what = `call ${method.name} of PD`;
    let mayAskFollower = call.allowFollower === true && call.leaderOnly !== true &&
      this.options.allowFollowers;
    let quickRetries = 0;
    for (;;) {
      const route = (mayAskFollower ? this.#followerRoute() : undefined) ?? this.leaderRoute();
      operation.attempts++;
      call.attempt.isOpen = true;
      let error: unknown;
      try {
        const attempt = deadline.within(call.attemptTimeoutMs ?? this.options.pdTimeoutMs);
        return await this.channel.unary(route.address, method, request, {
          deadline: attempt,
          metadata: route.metadata,
        });
      } catch (failure) {
        error = failure;
      }
      if (deadline.isAborted) throw deadline.signal?.reason;
      call.attempt.isOpen = false;
      if (call.isWrite === true && mayHaveHappened(error)) operation.isMaybeExecuted = true;
      this.noteFailure(route, error);
      if (deadline.isOver()) throw deadline.timeoutError(what, error);
      if (route.isFollower && mayAskFollower) {
        // PD-012: whatever a follower cannot answer, the leader is asked once, without a wait.
        mayAskFollower = false;
        continue;
      }
      const action = actionOf(error);
      if (action === "fail") throw error;
      if (action === "follow" && await this.#hasAnswer(deadline, route.address)) {
        const isNewLeader = this.members.current.leader.address !== route.address;
        // A first failure says little; a leader that only just took over may not serve at once.
        if (quickRetries++ < (isNewLeader ? 3 : 1)) continue;
      }
      await wait(operation, error);
    }
  }

  /** Tells whether PD could say who leads it. */
  async #hasAnswer(deadline: Deadline, suspect: string): Promise<boolean> {
    try {
      await this.members.refresh(deadline, suspect);
      return true;
    } catch (error) {
      if (deadline.isAborted) throw error;
      // The wait that follows is for this as well.
      return false;
    }
  }

  /** An operation of this client. */
  operation(name: string, deadline: Deadline): Operation {
    return new Operation(name, { deadline, environment: this.environment, observer: this.observe });
  }

  #followerRoute(): PdRoute | undefined {
    const address = this.#follower();
    if (address === undefined) return undefined;
    return { address, metadata: { "pd-allow-follower-handle": "" }, isFollower: true };
  }

  /** Looks once a second whether the leader can be reached again. */
  #probeLeader(address: string): void {
    if (this.#probe !== undefined || this.scope.isClosed) return;
    const { clock } = this.environment;
    this.#probe = clock.timer(PROBE_MS, () => {
      const deadline = Deadline.after(clock, PROBE_MS);
      this.scope.run(
        deadline,
        "look for the leader of PD",
        (inner) => this.channel.unary(address, PD.method.getMembers, {}, { deadline: inner }),
      ).then(
        () => this.#stopProbe(),
        () => {
          // Not yet.
          this.#probe = undefined;
          if (this.members.current.leader.address === address) this.#probeLeader(address);
        },
      );
    }, { background: true });
  }

  #stopProbe(): void {
    this.#probe?.cancel();
    this.#probe = undefined;
  }

  /** The next follower in turn that did not fail lately. */
  #follower(): string | undefined {
    const now = this.environment.clock.now();
    const usable = this.members.current.followers.filter(({ address }) =>
      (this.#avoided.get(address) ?? -Infinity) <= now
    );
    return usable.length === 0 ? undefined : usable[this.#turn++ % usable.length]?.address;
  }
}

async function wait(operation: Operation, cause: unknown): Promise<void> {
  try {
    await operation.backoffs.wait("pdRPC", cause);
  } catch (error) {
    if (operation.deadline.isAborted || !TikvError.is(error)) throw error;
    const message = `${error.message}; the last error was: ${textOf(cause)}`;
    throw new TikvError(error.kind, message, { cause, context: error.context });
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const CALLER_ID = "tikv-client-js";
/** As PD's own client: a follower that lacks a region is left alone for ten seconds. */
const AVOID_FOLLOWER_MS = 10_000;
/** How often a leader that cannot be reached is looked for, as PD's own client does. */
const PROBE_MS = 1_000;
