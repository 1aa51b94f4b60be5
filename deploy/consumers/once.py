"""What every consumer of sluice's messages does: read a message in any wrapping, and act on each id once. Copy this file beside yours.

Messages are told at least once. A claim is an item of a DynamoDB table with the one key `pk` (string) and expiry by `expires`; the consumer
needs dynamodb:PutItem, UpdateItem and DeleteItem on it. A claim is taken before acting and finished after it: two copies at the same time act
once, and one that died in between is taken over when its time is up.
"""

import json
import time

from botocore.exceptions import ClientError

SCHEMAS = {"sluice.breach/1": "fire_id", "sluice.hold/1": "notice_id", "sluice.breaker/1": "notice_id"}
KEEP = 14 * 24 * 3600
BUSY = 120


class Busy(Exception):
    """Another copy of the message is being acted on: try this one again later."""


def read(text: str) -> dict | None:
    """The message in a text: itself (raw delivery), or inside an SNS or EventBridge envelope. None for what this program does not know.

    Only `schema` and the id are looked at: fields that are added later pass.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        return None
    if found.get("Type") == "Notification" and "Message" in found:
        found = json.loads(found["Message"])
    elif found.get("source") == "sluice" and "detail" in found:
        found = found["detail"]
    return found if isinstance(found.get(SCHEMAS.get(found.get("schema"))), str) else None


def key(message: dict) -> str:
    return message[SCHEMAS[message["schema"]]]


class Once:
    """Claims of one consumer; two consumers with names of their own both act on a message."""

    def __init__(self, table: str, consumer: str, client, clock=time.time):
        self.table, self.consumer, self.client, self.clock = table, consumer, client, clock

    def act(self, message: dict, action) -> bool:
        """Does action(message) unless it was done for this id; False if it was. What the action raises frees the claim."""
        claim = {"pk": {"S": f"{self.consumer}#{key(message)}"}}
        if not self._begin(claim):
            return False
        try:
            action(message)
        except BaseException:
            self.client.delete_item(TableName=self.table, Key=claim)
            raise
        self.client.update_item(TableName=self.table, Key=claim, UpdateExpression="SET #done = :true",
                                ExpressionAttributeNames={"#done": "done"}, ExpressionAttributeValues={":true": {"BOOL": True}})
        return True

    def _begin(self, claim: dict) -> bool:
        now = int(self.clock())
        item = {**claim, "done": {"BOOL": False}, "until": {"N": str(now + BUSY)}, "expires": {"N": str(now + KEEP)}}
        try:
            self.client.put_item(TableName=self.table, Item=item, ReturnValuesOnConditionCheckFailure="ALL_OLD",
                                 ConditionExpression="attribute_not_exists(pk) OR (#done = :false AND #until < :now)",
                                 ExpressionAttributeNames={"#done": "done", "#until": "until"},
                                 ExpressionAttributeValues={":false": {"BOOL": False}, ":now": {"N": str(now)}})
            return True
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            if error.response.get("Item", {}).get("done", {}).get("BOOL"):
                return False
            raise Busy(claim["pk"]["S"]) from error
