// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../async/clock.ts";
import type { MemoryNetwork } from "../rpc/memory.ts";
import type { Listener, Service } from "../rpc/server.ts";
import type { PlaygroundPorts } from "./options.ts";

/** Where the nodes of a playground listen. */
export interface Sites {
  readonly network: MemoryNetwork;
  readonly clock: Clock;
  readonly ports: PlaygroundPorts | undefined;
}

/** One process of the cluster: a member of PD or a store. It listens in memory, and on a port if asked. */
export class Node {
  readonly #sites: Sites;
  readonly #service: Service;
  readonly #pages: ((path: string) => unknown) | undefined;
  #address = "";
  #statusAddress = "";
  #listeners: Listener[] = [];

  /** @param pages what it tells over plain HTTP, on a port of its own */
  constructor(sites: Sites, service: Service, pages?: (path: string) => unknown) {
    this.#sites = sites;
    this.#service = service;
    this.#pages = pages;
  }

  /** `host:port` as advertised; empty before the first start. */
  get address(): string {
    return this.#address;
  }

  /** `host:port` of its pages as advertised; empty without ports, and with TLS, which they do not speak. */
  get statusAddress(): string {
    return this.#statusAddress;
  }

  get isRunning(): boolean {
    return this.#listeners.length > 0;
  }

  /**
   * Begins to serve.
   *
   * @param memoryName the address when there are no ports
   * @param port 0 takes a free one
   */
  async start(memoryName: string, port: number): Promise<void> {
    const { network, ports, clock } = this.#sites;
    if (ports === undefined) {
      this.#address = memoryName;
    } else {
      // Loaded only here, so that a playground in memory needs no sockets of the runtime.
      const { listenHttp2 } = await import("../rpc/http2/server.ts");
      const listener = await listenHttp2(this.#service, {
        host: ports.host ?? "127.0.0.1",
        port,
        clock,
        ...(ports.tls === undefined ? {} : {
          tls: {
            cert: ports.tls.cert,
            key: ports.tls.key,
            ca: ports.tls.ca,
            requireClientCertificate: ports.tls.ca !== undefined,
          },
        }),
      });
      this.#listeners.push(listener);
      this.#address = advertised(listener.address, ports.advertiseHost);
      await this.#startStatus(ports);
    }
    this.#listeners.push(network.listen(this.#address, this.#service));
  }

  async #startStatus(ports: PlaygroundPorts): Promise<void> {
    if (this.#pages === undefined || ports.tls !== undefined) return;
    const { listenStatus } = await import("../rpc/http2/status_server.ts");
    const port = this.#statusAddress === "" ? 0 : portOf(this.#statusAddress);
    const listener = await listenStatus(this.#pages, { host: ports.host ?? "127.0.0.1", port });
    this.#listeners.push(listener);
    this.#statusAddress = advertised(listener.address, ports.advertiseHost);
  }

  /** Serves again where it did before. */
  async restart(): Promise<void> {
    if (this.isRunning) return;
    await this.start(this.#address, portOf(this.#address));
  }

  /** Stops serving and loses every connection. */
  async stop(): Promise<void> {
    const listeners = this.#listeners;
    this.#listeners = [];
    await Promise.all(listeners.map((listener) => listener.close()));
  }

  /** Loses every connection and goes on serving. */
  cut(): void {
    for (const listener of this.#listeners) listener.disconnectAll();
  }
}

function advertised(bound: string, host: string | undefined): string {
  return host === undefined ? bound : `${host}:${portOf(bound)}`;
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}
