"""A Lambda function behind the topic that opens a ticket for what is critical, once for each incident message.

Subscribe it to the topic (protocol lambda); put handler.py and ../once.py into the zip. Environment: CLAIMS_TABLE, and TICKET_URL, which takes a
POST of JSON with the header Idempotency-Key; without TICKET_URL tickets are printed. An error lets SNS hand the message over again.
"""

import json
import os
import urllib.request

import boto3

from once import Once, key, read

CRITICAL = "critical"


def ticket(message: dict) -> dict:
    # One incident is one thread: the breach and all news of its hold; a trip of the breaker and its end.
    thread = message.get("hold_id") or message.get("trip_id") or message["fire_id"]
    if message["schema"] == "sluice.breach/1":
        title = f"{message['target']}: {message['threshold']} of {message['budget']}, {message['spent_usd']} of {message['limit_usd']} USD"
    elif message["schema"] == "sluice.breaker/1":
        title = f"breaker {message['state']}" + (f", {message['reason']}" if message.get("reason") else "")
    else:
        title = f"{message['target']}: hold {message['state']}" + (f", {message['reason']}" if message.get("reason") else "")
    return {"title": title, "thread": thread, "severity": message.get("severity"), "message": message}


def open_ticket(message: dict) -> None:
    body = json.dumps(ticket(message)).encode()
    url = os.environ.get("TICKET_URL")
    if not url:
        print(body.decode())
        return
    # The key covers the moment between the answer and the end of the claim.
    headers = {"Content-Type": "application/json", "Idempotency-Key": key(message)}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10):
        pass


def handler(event: dict, _context=None) -> dict:
    once = Once(os.environ["CLAIMS_TABLE"], "tickets", boto3.client("dynamodb"))
    opened = 0
    for record in event["Records"]:
        message = read(record["Sns"]["Message"])
        if message and message.get("severity") == CRITICAL:
            opened += once.act(message, open_ticket)
    return {"opened": opened}
