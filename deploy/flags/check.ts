// Whether this agent is held by sluice: copy this file beside your agent. Needs @aws-sdk/client-dynamodb; the table is described in
// docs/flags.md.
//
//   const flags = new Flags("sluice-flags", { failOpen: true });
//   const held = await flags.check("triage", "s-1");
//   if (held) throw new Error(`held: ${held.reason}`);

import { BatchGetItemCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";

export type Held = { target: string; reason: string; until?: string };
/** ttl: milliseconds an answer is kept. failOpen: what to say when the table cannot be read: true allows, false holds. */
export type Options = { ttl?: number; failOpen?: boolean; client?: DynamoDBClient };

const escape = (value: string) =>
  // eslint-disable-next-line no-control-regex
  value.replace(/[%,=*\u0000-\u001f\u007f-\u009f]/g, (char) =>
    [...new TextEncoder().encode(char)].map((byte) => "%" + byte.toString(16).toUpperCase().padStart(2, "0")).join(""));

export class Flags {
  private readonly kept = new Map<string, { at: number; held?: Held }>();
  private readonly client: DynamoDBClient;
  private readonly ttl: number;
  private readonly failOpen: boolean;

  constructor(private readonly table: string, { ttl = 5000, failOpen = true, client }: Options = {}) {
    [this.ttl, this.failOpen] = [ttl, failOpen];
    this.client = client ?? new DynamoDBClient({ maxAttempts: 2 });
  }

  /** Resolves to undefined if the agent may call. */
  async check(agent: string, session?: string): Promise<Held | undefined> {
    const key = JSON.stringify([agent, session]);
    const kept = this.kept.get(key);
    if (kept && performance.now() - kept.at < this.ttl) return kept.held;
    const held = await this.ask(agent, session);
    if (this.kept.size > 10_000) this.kept.clear();
    this.kept.set(key, { at: performance.now(), held });
    return held;
  }

  private async ask(agent: string, session?: string): Promise<Held | undefined> {
    const [a, s] = [`agent_id=${escape(agent)}`, `session_id=${escape(session ?? "")}`];
    const targets = session === undefined ? ["*", a] : ["*", a, s, `${a},${s}`, `${s},${a}`];
    const keys = { Keys: targets.map((pk) => ({ pk: { S: pk } })), ConsistentRead: true };
    try {
      // A model call must not wait long for permission.
      const signal = AbortSignal.timeout(2000);
      const answer = await this.client.send(new BatchGetItemCommand({ RequestItems: { [this.table]: keys } }), { abortSignal: signal });
      if (Object.keys(answer.UnprocessedKeys ?? {}).length > 0) throw new Error("DynamoDB answered in part");
      const now = new Date().toISOString().slice(0, 19) + "Z";
      const stops = (row: any) => row.state?.S === "held" && (row.until?.S === undefined || now < row.until.S);
      const row = (answer.Responses?.[this.table] ?? []).find(stops);
      return row && { target: row.pk.S ?? "", reason: row.reason?.S ?? "", until: row.until?.S };
    } catch (error) { // no such table, no permission, no network, throttled
      return this.failOpen ? undefined : { target: a, reason: `flags cannot be read: ${error}` };
    }
  }
}
