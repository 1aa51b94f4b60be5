// Asks check.ts what standard input says, one JSON object a line, and writes one answer a line.
import { createInterface } from "node:readline";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { Flags } from "./out/check.js";

const known = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const { endpoint, table, ttl, failOpen, agent, session } = JSON.parse(line);
  const key = JSON.stringify([endpoint, table, ttl, failOpen]);
  if (!known.has(key)) known.set(key, new Flags(table, { ttl, failOpen, client: new DynamoDBClient({ endpoint, maxAttempts: 1 }) }));
  console.log(JSON.stringify((await known.get(key).check(agent, session ?? undefined)) ?? null));
}
