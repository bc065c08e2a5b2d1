// SPDX-License-Identifier: Apache-2.0
// The stream that timestamps come over: framed by hand on our own transport, or through the
// Connect transport that the caller gave for PD.

import { PD, type TsoResponse } from "../../gen/pdpb_pb.ts";
import { Deadline } from "../async/deadline.ts";
import { Queue } from "../async/queue.ts";
import { TikvError } from "../errors.ts";
import { errorOfStatus, GRPC } from "../rpc/grpc_status.ts";
import { errorOfConnect } from "./pd_channel.ts";
import { errorOfRefusal, withPdKind } from "./pd_error.ts";
import type { PdLink, PdRoute } from "./pd_link.ts";
import { decodeTsoResponse, encodeTsoRequest, type TsoReply } from "./tso_codec.ts";

/** What the opener of a stream gets to hear; after `onClose`, or its own `cancel`, nothing more. */
export interface TsoHandlers {
  onReply(reply: TsoReply): void;
  /** The stream ended, also when PD ended it properly. */
  onClose(error: unknown): void;
}

/** An open stream for timestamps. */
export interface TsoStream {
  /** Asks for `count` timestamps; answers come in the order of the requests. */
  request(count: number): void;
  cancel(cause: unknown): void;
}

/** Opens a stream to a member. It has no deadline of its own: those who wait have. */
export function openTsoStream(link: PdLink, route: PdRoute, handlers: TsoHandlers): TsoStream {
  let isOver = false;
  const close = (error: unknown): void => {
    if (isOver) return;
    isOver = true;
    handlers.onClose(withPdKind(error));
  };
  const once: TsoHandlers = {
    onClose: close,
    onReply: (reply) => {
      if (isOver) return;
      const refusal = errorOfRefusal(reply.refusal, { method: "Tso", address: route.address });
      if (refusal === undefined) return handlers.onReply(reply);
      stream.cancel(refusal);
      close(refusal);
    },
  };
  const open = link.options.controlTransport === undefined ? openFramed : openConnect;
  const stream = open(link, route, once);
  return {
    request: (count) => stream.request(count),
    cancel: (cause) => {
      isOver = true;
      stream.cancel(cause);
    },
  };
}

function openFramed(link: PdLink, route: PdRoute, handlers: TsoHandlers): TsoStream {
  const { address, metadata } = route;
  const wire = link.options.transport.stream({ address, kind: "pd" }, PATH, {
    onMessage: (message) => {
      let reply: TsoReply;
      try {
        reply = decodeTsoResponse(message);
      } catch (error) {
        wire.cancel(error);
        return handlers.onClose(error);
      }
      handlers.onReply(reply);
    },
    onClose: (status) =>
      handlers.onClose(status.code === GRPC.OK ? endedError(address) : errorOfStatus(status, PATH, address)),
  }, { deadline: Deadline.never(link.environment.clock), metadata });
  return {
    // One small message at a time is in flight, so there is nothing to hold back.
    request: (count) => void wire.send(encodeTsoRequest(link.header, count)),
    cancel: (cause) => wire.cancel(cause),
  };
}

function openConnect(link: PdLink, route: PdRoute, handlers: TsoHandlers): TsoStream {
  const { address, metadata } = route;
  const counts = new Queue<number>();
  const controller = new AbortController();
  // A generator, because transports call `throw()` on their input.
  async function* requests(): AsyncGenerator<{ header: PdLink["header"]; count: number }> {
    for await (const count of counts) yield { header: link.header, count };
  }
  const read = async (): Promise<void> => {
    const connect = link.channel.connect(address);
    const { message } = await connect.stream(
      PD.method.tso,
      controller.signal,
      undefined,
      metadata,
      requests(),
    );
    for await (const reply of message) handlers.onReply(replyOf(reply));
    throw endedError(address);
  };
  read().catch((error) => {
    counts.close();
    handlers.onClose(errorOfConnect(error, PD.method.tso, address));
  });
  return {
    request: (count) => void counts.push(count),
    cancel: (cause) => {
      counts.close();
      controller.abort(cause);
    },
  };
}

function replyOf({ header, count, timestamp }: TsoResponse): TsoReply {
  return {
    clusterId: header?.clusterId ?? 0n,
    refusal: header?.error,
    count,
    physicalMs: timestamp?.physical ?? 0n,
    logical: timestamp?.logical ?? 0n,
    suffixBits: timestamp?.suffixBits ?? 0,
  };
}

function endedError(address: string): TikvError {
  return new TikvError("connection", `Cannot get timestamps from ${address}: PD ended the stream`);
}

const PATH = "/pdpb.PD/Tso";
