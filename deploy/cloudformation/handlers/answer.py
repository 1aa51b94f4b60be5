"""What every handler shares: an order of CloudFormation is carried out and answered, whatever happens.

build.py puts this file in front of each handler. An event without a ResponseURL (Terraform, a test, a person) gets its answer
as the return value, and a failure as an error.
"""

import json
import time
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

RETRY = Config(retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=5, read_timeout=20)
# What is kept of a Lambda function's time for the answer, in seconds.
RESERVE = 20
# CloudFormation takes answers of 4096 bytes.
REASON_MAX = 1800


def client(name):
    return boto3.client(name, config=RETRY)


def code(error):
    return error.response["Error"]["Code"]


def seconds_left(context):
    return context.get_remaining_time_in_millis() / 1000 - RESERVE


def until(context, seconds, look, pause=5):
    """Looks until there is something to see, for so many seconds or as long as the function lives; returns what it saw last."""
    end = time.monotonic() + min(seconds, seconds_left(context))
    while True:
        seen = look()
        if seen or time.monotonic() + pause > end:
            return seen
        time.sleep(pause)


def send(event, context, body):
    """Puts the answer where CloudFormation waits for it; a failure is raised at last, so that Lambda hands the order in again."""
    data = json.dumps(body).encode()
    for attempt in range(5):
        try:
            request = urllib.request.Request(event["ResponseURL"], data, {"Content-Type": ""}, method="PUT")
            urllib.request.urlopen(request, timeout=10).read()
            return
        except OSError as error:
            print(f"the answer was not taken: {error}")
            if attempt == 4 or context.get_remaining_time_in_millis() < 15000:
                raise
            time.sleep(2**attempt)


def serve(kinds, event, context):
    """Carries an order out with the function of its resource type, which returns its physical id and its attributes."""
    print(json.dumps({key: event.get(key) for key in ("RequestType", "ResourceType", "LogicalResourceId", "PhysicalResourceId")}))
    known = event.get("PhysicalResourceId") or "none"
    body = {key: event.get(key) for key in ("StackId", "RequestId", "LogicalResourceId")}
    try:
        physical, data = kinds[event["ResourceType"].split("::")[-1]](event, context)
        body.update(Status="SUCCESS", PhysicalResourceId=physical or known, Data=data)
    except Exception as error:
        reason = str(error)[:REASON_MAX] or type(error).__name__
        print(f"failed: {type(error).__name__}: {reason}")
        if "ResponseURL" not in event:
            raise
        body.update(Status="FAILED", PhysicalResourceId=known, Reason=reason)
    if "ResponseURL" in event:
        send(event, context, body)
    return body
