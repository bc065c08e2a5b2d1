// SPDX-License-Identifier: Apache-2.0

import type { Cluster, MemberState } from "./cluster.ts";
import type { Sites } from "./node.ts";
import { Node } from "./node.ts";
import { pdService } from "./pd.ts";
import { storeService } from "./store.ts";

/** The processes of a cluster: members of PD by index, stores by id. */
export class Nodes {
  readonly #cluster: Cluster;
  readonly #sites: Sites;
  readonly #members: Node[] = [];
  readonly #stores = new Map<bigint, Node>();
  #moves = 0;

  constructor(cluster: Cluster, sites: Sites) {
    this.#cluster = cluster;
    this.#sites = sites;
  }

  /** Starts one more member of PD. */
  async startMember(name: string): Promise<void> {
    const { members } = this.#cluster;
    const member: MemberState = {
      id: this.#cluster.allocateId(),
      name,
      url: "",
      address: "",
      isRunning: true,
    };
    const node: Node = new Node(
      this.#sites,
      pdService({ cluster: this.#cluster, member, cut: () => node.cut() }),
    );
    this.#members.push(node);
    await node.start(`${name}.playground:2379`, nth(this.#sites.ports?.pdPort, members.length));
    member.address = node.address;
    member.url = `${this.#sites.ports?.tls === undefined ? "http" : "https"}://${node.address}`;
    members.push(member);
  }

  /** Starts a new store. */
  async startStore(id: bigint): Promise<void> {
    const service = storeService(this.#cluster, id, () => node.cut());
    const node: Node = new Node(this.#sites, service, (path) => storePage(this.#cluster, path));
    const port = nth(this.#sites.ports?.storePort, this.#stores.size);
    this.#stores.set(id, node);
    await node.start(`store-${id}.playground:20160`, port);
    this.#cluster.addStore(id, node);
  }

  /** Moves a store to an address where none was before, and returns it. */
  async moveStore(id: bigint): Promise<string> {
    const node = this.store(id);
    await node.stop();
    this.#moves++;
    await node.start(`store-${id}-${this.#moves}.playground:20160`, 0);
    return node.address;
  }

  /** Stops a store that does not come back. */
  async dropStore(id: bigint): Promise<void> {
    const node = this.store(id);
    this.#stores.delete(id);
    await node.stop();
  }

  store(id: bigint): Node {
    const node = this.#stores.get(id);
    if (node === undefined) throw new RangeError(`Cannot find store ${id}`);
    return node;
  }

  member(index: number): Node {
    const node = this.#members[index];
    if (node === undefined) throw new RangeError(`Cannot find member ${index} of PD`);
    return node;
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#members, ...this.#stores.values()].map((node) => node.stop()));
  }
}

/** What a store tells over HTTP: the part of its configuration that decides how clients talk to it. */
function storePage({ rules, limits }: Cluster, path: string): unknown {
  if (path === "/status") return {};
  if (path !== "/config") return undefined;
  return {
    storage: {
      "api-version": rules.version === "v2" ? 2 : 1,
      "enable-ttl": rules.version !== "v1",
      "max-key-size": limits.maxKeyBytes,
    },
    raftstore: { "raft-entry-max-size": `${limits.maxEntryBytes}B` },
  };
}

/** The port of the n-th process, when the first has a fixed one. */
function nth(first: number | undefined, index: number): number {
  return first === undefined || first === 0 ? 0 : first + index;
}
