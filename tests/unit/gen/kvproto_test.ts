// SPDX-License-Identifier: Apache-2.0

import type { DescEnum, DescField, DescFile, DescMessage, DescService } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import * as gen from "../../../gen/mod.ts";

/** What `tools/proto` read from the pinned Go package; `golden.go` has the grammar of the lines. */
interface Golden {
  readonly files: Readonly<Record<string, readonly string[]>>;
  readonly messages: Readonly<Record<string, readonly string[]>>;
  readonly enums: Readonly<Record<string, readonly string[]>>;
  readonly services: Readonly<Record<string, readonly string[]>>;
}

interface Module {
  readonly exports: Readonly<Record<string, unknown>>;
  readonly file: DescFile;
}

type Lines = Record<string, string[]>;

const HEALTH = "grpc/health/v1/health";
const golden = JSON.parse(read("descriptors.json")) as Golden;
const modules: readonly Module[] = Object.values(gen).map(moduleOf);
const files: readonly DescFile[] = modules.map(({ file }) => file).filter(({ name }) => name !== HEALTH);

function read(name: string): string {
  return readFileSync(new URL(`../../../proto/${name}`, import.meta.url), "utf8");
}

function moduleOf(exports: Readonly<Record<string, unknown>>): Module {
  const name = Object.keys(exports).find((key) => key.startsWith("file_"));
  assert.ok(name !== undefined, "a generated module exports its file descriptor");
  return { exports, file: exports[name] as DescFile };
}

function fieldLine(field: DescField): string {
  const words = [`${field.number}`, field.name, cardinalityWords(field)];
  if (field.proto.proto3Optional) words.push("explicit");
  else if (field.oneof !== undefined) words.push("oneof", field.oneof.name);
  if (field.fieldKind === "list" && field.packed) words.push("packed");
  if (field.deprecated) words.push("deprecated");
  return words.join(" ");
}

function cardinalityWords(field: DescField): string {
  if (field.fieldKind === "map") return `map ${scalarName(field.mapKey)} ${typeWords(field)}`;
  return `${field.fieldKind === "list" ? "repeated" : "singular"} ${typeWords(field)}`;
}

function typeWords(field: DescField): string {
  if (field.scalar !== undefined) return scalarName(field.scalar);
  if (field.message !== undefined) return `message ${field.message.typeName}`;
  return `enum ${field.enum?.typeName}`;
}

function scalarName(scalar: ScalarType): string {
  return ScalarType[scalar].toLowerCase();
}

function serviceLines(service: DescService): string[] {
  return service.methods.map((method) =>
    [method.name, method.methodKind, method.input.typeName, method.output.typeName].join(" ")
  );
}

/** Reads the generated descriptors into the form of the golden file. */
function describeAll(): Record<keyof Golden, Lines> {
  const all: Record<keyof Golden, Lines> = { files: {}, messages: {}, enums: {}, services: {} };
  for (const file of files) {
    const imports = file.dependencies.map(({ name }) => `${name}.proto`);
    all.files[`${file.name}.proto`] = [file.proto.package, file.proto.syntax, ...imports];
    for (const type of nestedTypes(file)) {
      if (type.kind === "message") all.messages[type.typeName] = type.fields.map(fieldLine);
      if (type.kind === "enum") {
        all.enums[type.typeName] = type.values.map(({ number, name }) => `${number} ${name}`);
      }
      if (type.kind === "service") all.services[type.typeName] = serviceLines(type);
    }
  }
  return all;
}

describe("gen/ equals the pinned kvproto package", () => {
  const actual = describeAll();

  for (const part of ["files", "messages", "enums", "services"] as const) {
    test(`the names of the ${part} are the same`, () => {
      assert.deepEqual(Object.keys(actual[part]).sort(), Object.keys(golden[part]).sort());
    });

    test(`each of the ${part} has the same members`, () => {
      for (const [name, lines] of Object.entries(golden[part])) {
        assert.deepEqual(actual[part][name], lines, name);
      }
    });
  }

  test("the comparison covers the whole of what a client needs", () => {
    const services = Object.keys(golden.services);
    const needed = [
      "tikvpb.Tikv",
      "pdpb.PD",
      "tsopb.TSO",
      "keyspacepb.Keyspace",
      "meta_storagepb.MetaStorage",
    ];
    const more = ["resource_manager.ResourceManager", "routerpb.Router", "deadlock.Deadlock", "gcpb.GC"];
    assert.deepEqual([...needed, ...more].filter((name) => !services.includes(name)), []);
    assert.ok(Object.keys(golden.messages).includes("coprocessor.Request"));
  });

  test("the entry module names the pinned version", () => {
    const version = /^version (\S+)$/m.exec(read("PIN"))?.[1];
    assert.ok(version !== undefined);
    const entry = readFileSync(new URL("../../../gen/mod.ts", import.meta.url), "utf8");
    assert.ok(entry.includes(`\`${version}\``));
  });
});

describe("the names that gen/ exports", () => {
  /** `RaftMessage_Kind` for a type that is nested in another one, as the generator writes it. */
  function exportName(type: DescMessage | DescEnum | DescService): string {
    return type.typeName.slice(type.file.proto.package.length + 1).replaceAll(".", "_");
  }

  test("describe the type of the same name, and enum objects hold its values", () => {
    for (const { exports, file } of modules) {
      for (const type of nestedTypes(file)) {
        if (type.kind === "extension") continue;
        const name = exportName(type);
        // Compared by identity: the assertion library would print the whole graph of descriptors.
        assert.ok(exports[type.kind === "service" ? name : `${name}Schema`] === type, type.typeName);
        if (type.kind !== "enum") continue;
        const values = type.values.map(({ localName, number }) => [localName, number]);
        assert.deepEqual(Object.entries(exports[name] as object), values, type.typeName);
      }
    }
  });
});

describe("grpc.health.v1", () => {
  test("Health checks once, and watches as a stream of answers", () => {
    const request = "grpc.health.v1.HealthCheckRequest", response = "grpc.health.v1.HealthCheckResponse";
    const lines = [`Check unary ${request} ${response}`, `Watch server_streaming ${request} ${response}`];
    assert.deepEqual(serviceLines(gen.health.Health), lines);
    assert.equal(gen.health.Health.typeName, "grpc.health.v1.Health");
  });

  test("its messages have the numbers of the gRPC health protocol", () => {
    assert.deepEqual(gen.health.HealthCheckRequestSchema.fields.map(fieldLine), [
      "1 service singular string",
    ]);
    const status = "1 status singular enum grpc.health.v1.HealthCheckResponse.ServingStatus";
    assert.deepEqual(gen.health.HealthCheckResponseSchema.fields.map(fieldLine), [status]);
    const values = { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 };
    assert.deepEqual({ ...gen.health.HealthCheckResponse_ServingStatus }, values);
  });
});
