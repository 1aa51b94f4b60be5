"""A Lambda function behind the topic that posts to a Slack incoming webhook, for whoever wants their own words or channels.

sluice posts to Slack by itself ([[notify]] kind = "slack"); this shows how to do it from the topic. Put handler.py and ../once.py into the zip.
Environment: CLAIMS_TABLE, SLACK_URL. Names of agents are chosen by their callers: everything foreign is escaped before it is shown.
"""

import json
import os
import urllib.request

import boto3

from once import Once, read

MARKS = {"critical": ":rotating_light:", "warning": ":warning:", "info": ":information_source:"}
LONGEST = 2900


def plain(text: object) -> str:
    """Text that can neither mention anyone, nor be a link, nor be formatted."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in str(text))
    for char, name in [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")]:
        shown = shown.replace(char, name)
    for char in "*_~`":
        shown = shown.replace(char, char + "\u200b")
    return shown


def dollars(amount: str) -> str:
    """Amounts are exact decimals as text: cut, never through a float."""
    whole, _, rest = amount.partition(".")
    return f"${whole}.{rest[:2]:0<2}"


def post(message: dict) -> dict:
    target = plain(message.get("target", ""))
    if message["schema"] == "sluice.breach/1":
        head = f"{target} crossed {plain(message['threshold'])} of {plain(message['budget'])}"
        lines = [f"{dollars(message['spent_usd'])} of {dollars(message['limit_usd'])} in {plain(message['period'])}"]
        lines += [plain(message[name]) for name in ["explanation", "note"] if message.get(name)]
    elif message["schema"] == "sluice.breaker/1":
        head = f"breaker {plain(message['state'])}"
        lines = [plain(message[name]) for name in ["reason", "close"] if message.get(name)] + [f"by {plain(message['actor'])}"]
    else:
        head = f"{target}: hold {plain(message['state'])}"
        lines = [plain(message[name]) for name in ["reason", "subject", "approve", "reject"] if message.get(name)] + [f"by {plain(message['actor'])}"]
    text = f"{MARKS.get(message.get('severity'), '')} *{head}*\n" + "\n".join(lines)
    return {"text": head[:LONGEST], "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text[:LONGEST]}}]}


def send(message: dict) -> None:
    body = json.dumps(post(message)).encode()
    request = urllib.request.Request(os.environ["SLACK_URL"], body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass


def handler(event: dict, _context=None) -> dict:
    once = Once(os.environ["CLAIMS_TABLE"], "slack", boto3.client("dynamodb"))
    messages = [message for record in event["Records"] if (message := read(record["Sns"]["Message"]))]
    return {"posted": sum(once.act(message, send) for message in messages)}
