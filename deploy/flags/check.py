"""Whether this agent is held by sluice: copy this file beside your agent. Needs boto3; the table is described in docs/flags.md.

    flags = Flags("sluice-flags", fail_open=True)
    if held := flags.check("triage", session="s-1"):
        raise SystemExit(f"held: {held['reason']}")
"""

import time
from datetime import datetime, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


def escape(value):
    special = lambda char: char in "%,=*" or ord(char) < 32 or 127 <= ord(char) < 160
    return "".join("".join(f"%{byte:02X}" for byte in char.encode()) if special(char) else char for char in value)


class Flags:
    """`ttl`: seconds an answer is kept. `fail_open`: what to say when the table cannot be read: True allows, False holds."""

    def __init__(self, table, ttl=5.0, fail_open=True, client=None):
        # A model call must not wait long for permission.
        quick = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 2})
        self.client = client or boto3.client("dynamodb", config=quick)
        self.table, self.ttl, self.fail_open, self.kept = table, ttl, fail_open, {}

    def check(self, agent, session=None):
        """Returns None if the agent may call, else {'target', 'reason', 'until'}."""
        key, now = (agent, session), time.monotonic()
        kept = self.kept.get(key)
        if kept and now - kept[0] < self.ttl:
            return kept[1]
        held = self.ask(agent, session)
        if len(self.kept) > 10_000:
            self.kept.clear()
        self.kept[key] = (now, held)
        return held

    def ask(self, agent, session):
        agent = f"agent_id={escape(agent)}"
        targets = ["*", agent]
        if session is not None:
            session = f"session_id={escape(session)}"
            targets += [session, f"{agent},{session}", f"{session},{agent}"]
        keys = [{"pk": {"S": target}} for target in targets]
        try:
            answer = self.client.batch_get_item(RequestItems={self.table: {"Keys": keys, "ConsistentRead": True}})
            if answer.get("UnprocessedKeys"):
                raise ConnectionError("DynamoDB answered in part")
        except (BotoCoreError, ClientError, OSError) as error:  # no such table, no permission, no network, throttled
            return None if self.fail_open else {"target": agent, "reason": f"flags cannot be read: {error}", "until": None}
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        for row in answer["Responses"].get(self.table, []):
            text = {name: value.get("S") for name, value in row.items()}
            if text.get("state") == "held" and (text.get("until") is None or now < text["until"]):
                return {"target": text["pk"], "reason": text.get("reason", ""), "until": text.get("until")}
        return None
