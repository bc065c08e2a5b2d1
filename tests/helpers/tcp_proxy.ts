// SPDX-License-Identifier: Apache-2.0

import net from "node:net";

/** Stands between a client and a server, and breaks the connection the way networks do. */
export interface TcpProxy {
  readonly address: string;
  /** Connections that were taken. */
  readonly accepted: number;
  /** The open connections forward nothing any more and say nothing: they are half-open. */
  freeze(): void;
  /** Ends the open connections with FIN. */
  fin(): void;
  /** Ends the open connections with RST. */
  rst(): void;
  close(): Promise<void>;
}

interface Pair {
  readonly client: net.Socket;
  readonly upstream: net.Socket;
  isFrozen: boolean;
}

/** Starts a proxy in front of `target` (`host:port`). */
export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const [host, port] = target.split(":");
  const pairs: Set<Pair> = new Set();
  let accepted = 0;
  const server = net.createServer((client) => {
    accepted++;
    const upstream = net.connect({ host: host ?? "", port: Number(port) });
    const pair: Pair = { client, upstream, isFrozen: false };
    pairs.add(pair);
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      from.on("data", (chunk: Uint8Array) => {
        if (!pair.isFrozen) to.write(chunk);
      });
      from.on("error", () => {});
      from.on("close", () => {
        if (!pair.isFrozen) to.destroy();
        if (client.destroyed && upstream.destroyed) pairs.delete(pair);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    get accepted(): number {
      return accepted;
    },
    freeze(): void {
      for (const pair of pairs) pair.isFrozen = true;
    },
    fin(): void {
      for (const { client } of pairs) client.end();
    },
    rst(): void {
      for (const { client } of pairs) client.resetAndDestroy();
    },
    close(): Promise<void> {
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const { client, upstream } of pairs) {
          client.destroy();
          upstream.destroy();
        }
      });
    },
  };
}
