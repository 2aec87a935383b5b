// nats.js: @nats-io/obj. See __init__.py for the operations.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Objm } from "@nats-io/obj";
import { connect, headers as makeHeaders, nanos } from "@nats-io/transport-node";

const connection = await connect({ servers: process.argv[2] });
const manager = new Objm(connection);
const watchers = new Map();
const { version } = JSON.parse(readFileSync("node_modules/@nats-io/obj/package.json"));

async function orNull(promise) {
  try {
    return await promise;
  } catch (error) {
    if (/no message found/.test(error.message)) return null;
    throw error;
  }
}

const peer = {
  version: () => `nats.js ${version}`,

  // Buckets

  async create({ bucket, ttl, ...config }) {
    if (ttl) config.ttl = nanos(ttl * 1000);
    await manager.create(bucket, config);
  },

  async bind({ bucket }) {
    try {
      await manager.open(bucket);
      return true;
    } catch (error) {
      if (/not found/.test(error.message)) return null;
      throw error;
    }
  },

  async status({ bucket }) {
    const status = await (await manager.open(bucket)).status();
    const metadata = Object.entries(status.metadata ?? {});
    return {
      description: status.description,
      ttl: status.ttl ? status.ttl / 1e9 : null,
      max_bytes: status.streamInfo.config.max_bytes,
      storage: status.storage,
      compression: status.compression,
      metadata: Object.fromEntries(metadata.filter(([key]) => !key.startsWith("_nats."))),
    };
  },

  // Objects

  async put({ bucket, name, file, chunk_size, headers, ...fields }) {
    const store = await manager.open(bucket);
    const meta = { name, ...fields };
    if (chunk_size) meta.options = { max_chunk_size: chunk_size };
    if (headers) {
      meta.headers = makeHeaders();
      for (const [key, values] of Object.entries(headers)) {
        for (const value of values) meta.headers.append(key, value);
      }
    }
    await store.putBlob(meta, new Uint8Array(readFileSync(file)));
  },

  async get({ bucket, name }) {
    const data = await orNull((await manager.open(bucket)).getBlob(name));
    return data && [data.length, createHash("sha256").update(data).digest("hex")];
  },

  async info({ bucket, name }) {
    const info = await orNull((await manager.open(bucket)).info(name));
    if (info === null || info.deleted) return null;
    const link = info.options?.link;
    return {
      name: info.name,
      size: info.size,
      description: info.description,
      headers: info.headers.toRecord(),
      metadata: info.metadata,
      link: link ? [link.bucket, link.name ?? null] : null,
    };
  },

  async update_meta({ bucket, name, new_name, ...fields }) {
    if (new_name) fields.name = new_name;
    await (await manager.open(bucket)).update(name, fields);
  },

  async delete({ bucket, name }) {
    await (await manager.open(bucket)).delete(name);
  },

  async link({ bucket, name, to_bucket, to_name }) {
    const target = await (await manager.open(to_bucket)).info(to_name);
    await (await manager.open(bucket)).link(name, target);
  },

  async link_bucket({ bucket, name, to_bucket }) {
    await (await manager.open(bucket)).linkStore(name, await manager.open(to_bucket));
  },

  async list({ bucket }) {
    const infos = await (await manager.open(bucket)).list();
    return infos.map((info) => info.name).sort();
  },

  async watch({ bucket, count }) {
    if (!watchers.has(bucket)) {
      const store = await manager.open(bucket);
      const watcher = await store.watch({ includeHistory: true });
      watchers.set(bucket, watcher[Symbol.asyncIterator]());
    }
    const infos = [];
    while (infos.length < count) {
      const { value } = await watchers.get(bucket).next();
      infos.push([value.name, value.deleted ?? false]);
    }
    return infos;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: operation, ...fields } = JSON.parse(line);
  let reply;
  try {
    if (!(operation in peer)) throw new Error(`there is no ${operation}`);
    reply = { answer: (await peer[operation](fields)) ?? null };
  } catch (error) {
    reply = { error: `${error?.name ?? "Error"}: ${error?.message ?? error}`.slice(0, 500) };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
}
await connection.close();
