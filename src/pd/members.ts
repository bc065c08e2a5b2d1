// SPDX-License-Identifier: Apache-2.0

import { PD } from "../../gen/pdpb_pb.ts";
import type { GetMembersResponse } from "../../gen/pdpb_pb.ts";
import type { Environment, Timer } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import { SingleFlight } from "../async/single_flight.ts";
import { TikvError } from "../errors.ts";
import type { Observer } from "../observe/events.ts";
import { type MemberUrl, memberUrl, schemeError } from "./pd_address.ts";
import type { PdChannel } from "./pd_channel.ts";

/** A member of PD. */
export interface PdMember {
  /** Never used for another member. */
  readonly id: bigint;
  /** As it was configured, such as `"pd-1"`. */
  readonly name: string;
  /** The URLs at which it serves clients. */
  readonly clientUrls: readonly string[];
  /** The URLs at which the other members reach it. */
  readonly peerUrls: readonly string[];
  /** It leads PD. */
  readonly isLeader: boolean;
  /** Version of its program, such as `"v8.5.0"`; empty when it does not say. */
  readonly version: string;
}

/** What one member said about all of them. */
export interface Membership {
  readonly clusterId: bigint;
  readonly members: readonly PdMember[];
  readonly leader: MemberUrl;
  /** Where members that do not lead can be called. */
  readonly followers: readonly MemberUrl[];
}

/** Options of new {@linkcode Members}. */
export interface MembersOptions {
  readonly channel: PdChannel;
  readonly environment: Environment;
  readonly observe: Observer;
  readonly seeds: readonly string[];
  readonly isTls: boolean;
  /** Time for one member to answer. */
  readonly attemptTimeoutMs: number;
}

/** One seed's answer, or why there is none. */
export interface SeedResult {
  readonly address: string;
  readonly clusterId?: bigint | undefined;
  readonly membership?: Membership | undefined;
  readonly error?: unknown;
}

/**
 * Who is in PD and who leads it. Known after {@linkcode Members.start}; read again every minute
 * and whenever a call finds that its member does not serve.
 */
export class Members {
  readonly #options: MembersOptions;
  readonly #flights = new SingleFlight<"members", Membership>();
  readonly #listeners = new Set<(leader: MemberUrl) => void>();
  #current: Membership | undefined;
  #timer: Timer | undefined;
  readonly #closing = new AbortController();

  constructor(options: MembersOptions) {
    this.#options = options;
  }

  /** What is known now. */
  get current(): Membership {
    if (this.#current === undefined) {
      throw new TikvError("misuse", "Cannot use PD: it was not asked for its members");
    }
    return this.#current;
  }

  /** Asks every seed at once. Once one has answered in full, the others get a short time to. */
  async askSeeds(deadline: Deadline): Promise<SeedResult[]> {
    const { seeds, attemptTimeoutMs, environment: { clock } } = this.#options;
    const results = new Map<string, SeedResult>();
    const leaveAlone = new AbortController();
    let grace: Timer | undefined;
    try {
      await deadline.race(
        new Promise<void>((resolve) => {
          const attempt = deadline.within(attemptTimeoutMs).withSignal(leaveAlone.signal);
          for (const address of seeds) {
            this.#askSeed(address, attempt).then((result) => {
              results.set(address, result);
              if (results.size === seeds.length) resolve();
              else if (result.membership !== undefined) grace ??= clock.timer(SEED_GRACE_MS, resolve);
            });
          }
        }),
        "ask PD for its members",
      );
    } catch (error) {
      // Time is up: what has come in tells why. An abort is the caller's.
      if (deadline.isAborted) throw error;
    } finally {
      grace?.cancel();
      leaveAlone.abort();
    }
    const late = new TikvError("timeout", "it did not answer in time");
    return seeds.map((address) => results.get(address) ?? { address, error: late });
  }

  /** Takes the membership that the seeds agreed on, and keeps it fresh from then on. */
  start(membership: Membership): void {
    this.#apply(membership);
    this.#schedule();
  }

  /**
   * Asks all members at once who leads, and takes the first answer. One that still names
   * `suspect`, the member that did not serve, counts only when no other comes.
   */
  async refresh(deadline: Deadline, suspect?: string): Promise<Membership> {
    return await this.#flights.run("members", {
      deadline,
      what: "ask PD for its members",
      run: (signal) => this.#ask(signal, suspect),
    });
  }

  /** Calls back when another member leads. The returned function stops it. */
  onLeader(listener: (leader: MemberUrl) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops the refresh. */
  close(): void {
    this.#closing.abort();
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  async #askSeed(address: string, deadline: Deadline): Promise<SeedResult> {
    let clusterId: bigint | undefined;
    try {
      const reply = await this.#getMembers(address, deadline);
      clusterId = reply.header?.clusterId;
      return { address, clusterId, membership: this.#membershipOf(reply, address) };
    } catch (error) {
      return { address, clusterId, error };
    }
  }

  async #ask(signal: AbortSignal, suspect: string | undefined): Promise<Membership> {
    const { seeds, environment: { clock } } = this.#options;
    const { leader, followers } = this.current;
    const addresses = new Set([leader, ...followers].map(({ address }) => address).concat(seeds));
    const rest = new AbortController();
    const deadline = Deadline.after(clock, REFRESH_TIMEOUT_MS, signal).withSignal(rest.signal);
    try {
      const membership = await new Promise<Membership>((resolve, reject) => {
        let second: Membership | undefined;
        let lastError: unknown;
        let waiting = addresses.size;
        for (const address of addresses) {
          this.#askMember(address, deadline).then((answer) => {
            if (answer.leader.address !== suspect) resolve(answer);
            else second ??= answer;
          }, (error) => {
            lastError = error;
          }).then(() => {
            if (--waiting > 0) return;
            if (second === undefined) reject(lastError);
            else resolve(second);
          });
        }
      });
      if (!this.#closing.signal.aborted) this.#apply(membership);
      return membership;
    } finally {
      rest.abort();
    }
  }

  async #askMember(address: string, deadline: Deadline): Promise<Membership> {
    const answer = this.#membershipOf(await this.#getMembers(address, deadline), address);
    const { clusterId } = this.current;
    if (answer.clusterId === clusterId) return answer;
    throw new TikvError(
      "cluster-mismatch",
      `Cannot use PD at ${address}: it belongs to cluster ${answer.clusterId}, expected ${clusterId}`,
    );
  }

  #getMembers(address: string, deadline: Deadline): Promise<GetMembersResponse> {
    return this.#options.channel.unary(address, PD.method.getMembers, {}, { deadline });
  }

  #membershipOf(reply: GetMembersResponse, address: string): Membership {
    const { isTls } = this.#options;
    const clusterId = reply.header?.clusterId ?? 0n;
    const { leader } = reply;
    const url = leader === undefined ? undefined : memberUrl(leader, isTls);
    if (leader !== undefined && url === undefined && leader.clientUrls.length > 0) {
      throw schemeError(leader, isTls);
    }
    if (clusterId === 0n || leader === undefined || url === undefined) {
      // Seen while PD elects its first leader.
      const seen = clusterId === 0n ? "it has no cluster id yet" : "it knows no leader yet";
      throw new TikvError("connection", `Cannot use PD at ${address}: ${seen}`);
    }
    const followers = reply.members
      .filter(({ memberId }) => memberId !== leader.memberId)
      .map((member) => memberUrl(member, isTls))
      .filter((follower) => follower !== undefined);
    const members = reply.members.map((member) => ({
      id: member.memberId,
      name: member.name,
      clientUrls: member.clientUrls,
      peerUrls: member.peerUrls,
      isLeader: member.memberId === leader.memberId,
      version: member.binaryVersion,
    }));
    return { clusterId, members, leader: url, followers };
  }

  #apply(membership: Membership): void {
    const before = this.#current?.leader.address;
    this.#current = membership;
    const { leader } = membership;
    if (leader.address === before) return;
    this.#options.observe({ type: "pd-leader", address: leader.address });
    for (const listener of [...this.#listeners]) listener(leader);
  }

  #schedule(): void {
    const { clock } = this.#options.environment;
    this.#timer = clock.timer(REFRESH_INTERVAL_MS, () => {
      const deadline = Deadline.after(clock, REFRESH_TIMEOUT_MS, this.#closing.signal);
      this.refresh(deadline).catch((cause) => {
        // Calls find out for themselves; nobody waits for this one.
        if (!this.#closing.signal.aborted) {
          this.#options.observe({ type: "warning", message: "Cannot refresh the members of PD", cause });
        }
      }).then(() => {
        if (!this.#closing.signal.aborted) this.#schedule();
      });
    }, { background: true });
  }
}

// The figures of PD's own client (`servicediscovery/service_discovery.go` at a186e0cc): once a
// minute, one second for a round.
const REFRESH_INTERVAL_MS = 60_000;
const REFRESH_TIMEOUT_MS = 1_000;
/** How much longer a seed may take than the first one that answered, to be compared with it. */
const SEED_GRACE_MS = 500;
