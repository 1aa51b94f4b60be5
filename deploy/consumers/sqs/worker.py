"""A process that reads a queue behind the topic (or behind an EventBridge rule) and acts on each message once.

    worker.py QUEUE_URL CLAIMS_TABLE URL [--until-empty]

Posts each message to URL with its id in Idempotency-Key. What cannot be acted on now stays in the queue and comes again after a while; give the
queue a redrive policy, so that what never works ends in a dead-letter queue. Needs sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility.
"""

import argparse
import json
import signal
import sys
import urllib.request

import boto3

from once import Once, key, read

LONGEST_WAIT = 900


def post(url: str, message: dict) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key(message)}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(message).encode(), headers), timeout=10):
        pass


class Worker:
    def __init__(self, queue: str, once: Once, url: str, sqs):
        self.queue, self.once, self.url, self.sqs, self.going = queue, once, url, sqs, True

    def stop(self, *_) -> None:
        self.going = False

    def turn(self, wait: int = 20) -> int:
        """One long poll; returns how many messages came."""
        batch = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait,
                                         MessageSystemAttributeNames=["ApproximateReceiveCount"]).get("Messages", [])
        done = []
        for one in batch:
            # One that fails does not take the others with it.
            try:
                message = read(one["Body"])
                if message:
                    self.once.act(message, lambda found: post(self.url, found))
                else:
                    print(f"passed over, of another form: {one['MessageId']}", file=sys.stderr)
                done.append({"Id": one["MessageId"], "ReceiptHandle": one["ReceiptHandle"]})
            except Exception as error:  # noqa: BLE001: whatever it is, the message comes again, and in the end goes to the dead-letter queue
                print(f"left for later: {one['MessageId']}: {error!r}", file=sys.stderr)
                tries = int(one["Attributes"]["ApproximateReceiveCount"])
                self.sqs.change_message_visibility(QueueUrl=self.queue, ReceiptHandle=one["ReceiptHandle"],
                                                   VisibilityTimeout=min(2 ** tries, LONGEST_WAIT))
        if done:
            self.sqs.delete_message_batch(QueueUrl=self.queue, Entries=done)
        return len(batch)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue")
    parser.add_argument("table")
    parser.add_argument("url")
    parser.add_argument("--until-empty", action="store_true", help="end once nothing came for a while")
    args = parser.parse_args()
    worker = Worker(args.queue, Once(args.table, "worker", boto3.client("dynamodb")), args.url, boto3.client("sqs"))
    signal.signal(signal.SIGTERM, worker.stop)
    while worker.going:
        if worker.turn(wait=5 if args.until_empty else 20) == 0 and args.until_empty:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
