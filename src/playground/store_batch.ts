// SPDX-License-Identifier: Apache-2.0
// The BatchCommands stream: many commands with ids in, many answers with the same ids out.

import type { Message, MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { BatchCommandsRequest, BatchCommandsResponse } from "../../gen/tikvpb_pb.ts";
import {
  BatchCommandsEmptyResponseSchema,
  BatchCommandsResponse_ResponseSchema,
  BatchCommandsResponseSchema,
} from "../../gen/tikvpb_pb.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import { CORRUPT, deliver, LOST } from "./inject.ts";
import type { ReplyPort } from "./inject.ts";
import type { ReplyStream, RequestSink } from "./service_table.ts";
import { healthFeedback } from "./store_admin.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import { contextOf } from "./store_command.ts";

/** What the stream needs from the service of its store. */
export interface BatchHost {
  readonly scope: StoreScope;
  /** Commands by their name in a batch. */
  readonly commands: ReadonlyMap<string, StoreCommand>;
  /** Runs a command and turns what it throws into its answer. */
  run(command: StoreCommand, request: Message): Message | Promise<Message>;
  target(command: StoreCommand, request: Message): Parameters<typeof deliver>[1]["target"];
  cut(): void;
}

interface Answer {
  readonly id: bigint;
  readonly response: MessageInitShape<typeof BatchCommandsResponse_ResponseSchema>;
}

/** What TiKV waits at least before it sends the next feedback about its health. */
const FEEDBACK_INTERVAL_MS = 1_000;

/** What is added to the id of an answer that must find nobody. */
const WRONG_ID_OFFSET = 1_000_000_000n;

/** `delay_time` below this is not waited for (`future_handle_empty`). */
const MIN_EMPTY_DELAY_MS = 10n;

/** Serves one stream. */
export function serveBatch(
  host: BatchHost,
  stream: ReplyStream<BatchCommandsResponse>,
): RequestSink<BatchCommandsRequest> {
  const { cluster } = host.scope;
  // Answers that are ready while a message is being handled go out together.
  let ready: Answer[] = [];
  let isHandling = false;
  let lastFeedbackAt = -Infinity;
  let pending = 0;
  let hasEnded = false;

  const flush = (): void => {
    if (ready.length === 0) return;
    const answers = ready;
    ready = [];
    const now = cluster.environment.clock.now();
    const isFeedbackDue = now - lastFeedbackAt >= FEEDBACK_INTERVAL_MS;
    if (isFeedbackDue) lastFeedbackAt = now;
    stream.send(create(BatchCommandsResponseSchema, {
      responses: answers.map(({ response }) => response),
      requestIds: answers.map(({ id }) => id),
      ...(isFeedbackDue ? { healthFeedback: healthFeedback(host.scope) } : {}),
    }));
  };
  const push = (answer: Answer): void => {
    ready.push(answer);
    if (!isHandling) flush();
  };
  const settle = (): void => {
    pending--;
    if (hasEnded && pending === 0) stream.end();
  };

  const portOf = (id: bigint, batchCase: string): ReplyPort => {
    const answerOf = (reply: Message): Answer["response"] =>
      ({ cmd: { case: batchCase, value: reply } }) as unknown as Answer["response"];
    return {
      reply: (message) => {
        push({ id, response: answerOf(message) });
        settle();
      },
      misaddress: (message) => push({ id: id + WRONG_ID_OFFSET, response: answerOf(message) }),
      corrupt: () => {
        stream.call.send(CORRUPT);
      },
      end: (status) => {
        flush();
        stream.end(status);
      },
      cut: () => {
        host.cut();
        stream.end(LOST);
      },
    };
  };

  const accept = (id: bigint, cmd: BatchCommandsRequest["requests"][number]["cmd"]): void => {
    pending++;
    if (cmd.case === undefined) {
      // A command of a later version is answered with nothing in it.
      push({ id, response: {} });
      return settle();
    }
    if (cmd.case === "Empty") {
      const { testId, delayTime } = cmd.value;
      const reply = (): void => {
        push({
          id,
          response: { cmd: { case: "Empty", value: create(BatchCommandsEmptyResponseSchema, { testId }) } },
        });
        settle();
      };
      return delayTime >= MIN_EMPTY_DELAY_MS ? cluster.after(Number(delayTime), reply) : reply();
    }
    const command = host.commands.get(cmd.case);
    if (command === undefined) {
      cluster.counts.add(cmd.case, `store-${host.scope.storeId}`);
      return stream.end({ code: GRPC.UNIMPLEMENTED, message: `command ${cmd.case} is not implemented` });
    }
    const request: Message = cmd.value;
    const clusterId = contextOf(request)?.clusterId ?? 0n;
    if (clusterId !== 0n && clusterId !== cluster.clusterId) {
      return stream.end({
        code: GRPC.INVALID_ARGUMENT,
        message: `cluster of request=${clusterId} does not match TiKV cluster id=${cluster.clusterId}`,
      });
    }
    cluster.counts.add(command.method.name, `store-${host.scope.storeId}`);
    deliver(cluster, {
      target: host.target(command, request),
      output: command.method.output,
      port: portOf(id, cmd.case),
      execute: () => host.run(command, request),
    });
  };

  return {
    onRequest: (batch) => {
      cluster.counts.add("BatchCommands", `store-${host.scope.storeId}`);
      isHandling = true;
      try {
        batch.requests.forEach(({ cmd }, index) => accept(batch.requestIds[index] ?? 0n, cmd));
      } finally {
        isHandling = false;
      }
      flush();
    },
    onEnd: () => {
      hasEnded = true;
      if (pending === 0) stream.end();
    },
  };
}
