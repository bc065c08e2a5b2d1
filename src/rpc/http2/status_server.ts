// SPDX-License-Identifier: Apache-2.0
// Plain HTTP beside gRPC: what a server tells of itself to people and tools.

import http from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Listener } from "../server.ts";

/** Answers a path with JSON, or does not know it. */
export type StatusPages = (path: string) => unknown;

/** Serves pages; resolves when the port is bound. A path that is not known is answered with 404. */
export async function listenStatus(
  pages: StatusPages,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Listener> {
  const sockets = new Set<Socket>();
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://status");
    const page = request.method === "GET" ? pages(pathname) : undefined;
    response.writeHead(page === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(page === undefined ? undefined : JSON.stringify(page));
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const bound = server.address() as AddressInfo;
  const disconnectAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: `${bound.family === "IPv6" ? `[${bound.address}]` : bound.address}:${bound.port}`,
    disconnectAll,
    close: () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      disconnectAll();
      return closed;
    },
  };
}
