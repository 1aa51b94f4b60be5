// A Lambda function on a queue behind the topic, with a batch answered in part: what failed comes again alone. Needs
// @aws-sdk/client-dynamodb; environment CLAIMS_TABLE, TARGET_URL. Switch ReportBatchItemFailures on in the event source mapping.

import {
  ConditionalCheckFailedException, DeleteItemCommand, DynamoDBClient, PutItemCommand, UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";

/** sluice.breach/1, as far as this consumer looks; schemas/json/breach.schema.json has all of it. */
export type Breach = {
  schema: "sluice.breach/1"; fire_id: string; budget: string; target: string; period: string; threshold: string;
  /** Exact decimals as text: a number would be a float. */
  limit_usd: string; spent_usd: string; severity?: string;
};
/** sluice.hold/1; `state` may get further words. */
export type Hold = { schema: "sluice.hold/1"; notice_id: string; hold_id: string; target: string; state: string; reason: string; severity?: string };
/** sluice.breaker/1: nothing is pulled any more, or levers are pulled again. */
export type Breaker = { schema: "sluice.breaker/1"; notice_id: string; trip_id: string; state: string; reason: string; severity?: string };
export type Message = Breach | Hold | Breaker;

type Batch = { Records: { messageId: string; body: string }[] };
type Answer = { batchItemFailures: { itemIdentifier: string }[] };

const KEEP = 14 * 24 * 3600;
const BUSY = 120;

export const idOf = (message: Message) => (message.schema === "sluice.breach/1" ? message.fire_id : message.notice_id);

/** The message in a text: itself, or inside an SNS or EventBridge envelope; undefined for a form this program does not know. */
export function read(text: string): Message | undefined {
  let found = JSON.parse(text);
  if (found?.Type === "Notification") found = JSON.parse(found.Message);
  else if (found?.source === "sluice") found = found.detail;
  const known = ["sluice.breach/1", "sluice.hold/1", "sluice.breaker/1"].includes(found?.schema);
  return known && typeof idOf(found) === "string" ? found : undefined;
}

/** Does the action once for each id. Returns false if it was done before; throws if another copy is at it. */
export async function once(client: DynamoDBClient, table: string, consumer: string, message: Message, action: () => Promise<void>) {
  const claim = { pk: { S: `${consumer}#${idOf(message)}` } };
  const now = Math.floor(Date.now() / 1000);
  try {
    await client.send(new PutItemCommand({
      TableName: table,
      Item: { ...claim, done: { BOOL: false }, until: { N: `${now + BUSY}` }, expires: { N: `${now + KEEP}` } },
      ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      ConditionExpression: "attribute_not_exists(pk) OR (#done = :false AND #until < :now)",
      ExpressionAttributeNames: { "#done": "done", "#until": "until" },
      ExpressionAttributeValues: { ":false": { BOOL: false }, ":now": { N: `${now}` } },
    }));
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException && error.Item?.done?.BOOL) return false;
    throw error;
  }
  try {
    await action();
  } catch (error) {
    await client.send(new DeleteItemCommand({ TableName: table, Key: claim }));
    throw error;
  }
  await client.send(new UpdateItemCommand({
    TableName: table, Key: claim, UpdateExpression: "SET #done = :true",
    ExpressionAttributeNames: { "#done": "done" }, ExpressionAttributeValues: { ":true": { BOOL: true } },
  }));
  return true;
}

async function tell(message: Message): Promise<void> {
  const answer = await fetch(process.env.TARGET_URL!, {
    method: "POST", body: JSON.stringify(message), signal: AbortSignal.timeout(10_000),
    headers: { "content-type": "application/json", "idempotency-key": idOf(message) },
  });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
}

const client = new DynamoDBClient({});

export async function handler(batch: Batch): Promise<Answer> {
  const batchItemFailures: Answer["batchItemFailures"] = [];
  for (const record of batch.Records) {
    try {
      const message = read(record.body);
      if (message) await once(client, process.env.CLAIMS_TABLE!, "typescript", message, () => tell(message));
      else console.warn(`passed over, of another form: ${record.messageId}`);
    } catch (error) {
      console.warn(`left for later: ${record.messageId}: ${error}`);
      batchItemFailures.push({ itemIdentifier: record.messageId });
    }
  }
  return { batchItemFailures };
}
