"""The consumers of deploy/consumers on messages of a real program: topics, queue, bus and tables in moto, a webhook on this machine.

    check.py --bin SLUICE        # a build with --features aws

Every message is held against its published schema; each consumer gets every message twice, and once more with fields of a later version,
and acts once. Needs boto3 and jsonschema; node and npm for the one in TypeScript, which is left out by name without them, except where
CI=true or SLUICE_LIVE=1.
"""

import argparse
import concurrent.futures
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import boto3
import jsonschema

from hook import Hook
from world import ROOT, World

HOSTILE = "<!channel> _boss_ <https://evil.example|invoice> \u202e & co"
CONSUMERS = ROOT / "deploy/consumers"
CACHE = pathlib.Path(os.environ.get("SLUICE_SERVERS", pathlib.Path.home() / ".cache/sluice/servers")) / "consumers"
sys.path.insert(0, str(CONSUMERS))


def check(holds, what) -> None:
    if not holds:
        raise SystemExit(what)


def schema(name: str) -> jsonschema.Draft202012Validator:
    found = json.loads((ROOT / f"schemas/json/{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def load(folder: str, name: str):
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", CONSUMERS / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ids(messages) -> set[str]:
    return {message.get("fire_id") or message["notice_id"] for message in messages}


def kind(message: dict) -> str:
    family = message["schema"].removeprefix("sluice.").removesuffix("/1")
    return family if family == "breach" else f"{family}_{message['state']}"


def later(text: str) -> str:
    """The same message as a later version might write it: fields that nobody knows yet."""
    return json.dumps({**json.loads(text), "shape_of_things": {"to": ["come"]}, "wait": None})


def forms(world: World) -> list[dict]:
    """Checks what came over every way, and returns the messages."""
    valid = {f"sluice.{name}/1": schema(name) for name in ["breach", "hold", "breaker"]}
    # Told at least once: what came again is the same message.
    told = [json.loads(one["Body"]) for one in world.received["raw"]]
    raw = list({message.get("fire_id") or message["notice_id"]: message for message in told}.values())
    for message in raw:
        valid[message["schema"]].validate(message)
    states = {message.get("state", "breach") for message in raw}
    check({"breach", "put", "verified", "manual_detach", "tripped", "closed", "released"} <= states, f"not every kind of news came: {states}")

    attributes = schema("sns-attributes")
    for one in world.received["wrapped"]:
        envelope = json.loads(one["Body"])
        attributes.validate(envelope["MessageAttributes"])
        message = json.loads(envelope["Message"])
        said = {name: found["Value"] for name, found in envelope["MessageAttributes"].items()}
        check((said["kind"], said["schema"], said["severity"]) == (kind(message), message["schema"], message["severity"]), f"{said} of {message}")
    check(ids(raw) == ids(json.loads(json.loads(one["Body"])["Message"]) for one in world.received["wrapped"]), "two queues, two stories")

    filtered = [json.loads(one["Body"]) for one in world.received["filtered"]]
    wanted = [message for message in raw if message["severity"] == "critical" and message["schema"] == "sluice.hold/1"]
    check(ids(filtered) == ids(wanted) and wanted, "the filter policy of the guide lets the wrong ones through")
    fifo = [json.loads(one["Body"]) for one in world.received["fifo"]]
    check(ids(fifo) == ids(raw), "the FIFO topic tells the same")
    for one in world.received["fifo"]:
        message = json.loads(one["Body"])
        expected = f"{message.get('fire_id') or message['notice_id']}-{kind(message)}"
        check(one["Attributes"]["MessageDeduplicationId"] == expected, f"{one['Attributes']} of {message}")

    events = [json.loads(one["Body"]) for one in world.received["events"]]
    event = schema("eventbridge")
    for found in events:
        event.validate(found)
        valid[found["detail"]["schema"]].validate(found["detail"])
    check(ids(found["detail"] for found in events) == ids(raw), "the bus tells the same")
    rows = world.rows
    row = schema("flag-row")
    for found in [*rows, json.loads((ROOT / "deploy/flags/row.json").read_text(encoding="utf-8"))]:
        row.validate(found)
    check(rows, "no row of a flag was seen")
    print(f"{len(raw)} messages over two topics, a bus and four queues, and {len(rows)} flag rows, as their schemas say")
    return raw


def functions(world: World, hook: Hook, messages: list[dict]) -> None:
    """Both Lambda functions behind the topic: twice, once more from the future, and through a failing receiver."""
    envelopes = [json.loads(one["Body"]) for one in world.received["wrapped"]]
    events = [{"Records": [{"EventSource": "aws:sns", "Sns": envelope}]} for envelope in envelopes]
    newer = [{"Records": [{"Sns": {**envelope, "Message": later(envelope["Message"])}}]} for envelope in envelopes]
    strange = {"Records": [{"Sns": {"Message": json.dumps({"schema": "sluice.breach/2", "id": "x"})}}]}
    os.environ.update(CLAIMS_TABLE=world.claims, TICKET_URL=hook.url, SLACK_URL=hook.url)

    tickets = load("lambda", "handler")
    critical = [message for message in messages if message["severity"] == "critical"]
    hook.fail(1)
    failed = 0
    for event in [*events, *events, *newer, strange]:
        try:
            tickets.handler(event)
        except OSError:
            failed += 1
            tickets.handler(event)
    got = hook.take()
    check(failed == 1 and [one.status for one in got].count(500) == 1, "the receiver failed once")
    done = [one for one in got if one.status == 200]
    check(sorted(one.key for one in done) == sorted(ids(critical)), "one ticket for each critical message")
    threads = {one.body["thread"] for one in done}
    check(len(threads) < len(done), "a breach and the news of its hold are one thread")
    print(f"lambda: {len(done)} tickets in {len(threads)} incidents from {len(events) * 3 + 1} deliveries")

    slack = load("slack", "handler")
    for event in [*events, *events, *newer, strange]:
        slack.handler(event)
    posts = [one.body for one in hook.take()]
    check(len(posts) == len(messages), f"{len(posts)} posts for {len(messages)} messages")
    # What the program takes for a name is narrow; what a consumer is handed need not be.
    posts += [slack.post({**message, "target": HOSTILE, "reason": HOSTILE, "note": HOSTILE}) for message in messages]
    text = "\n".join(json.dumps(post, ensure_ascii=False) for post in posts)
    forged = [mark for mark in ["<!channel>", "_boss_", "\u202e"] if mark in text]
    check("&lt;!channel&gt;" in text and not forged, f"a name of an agent forges marks: {forged}")
    for post in posts:
        check(post["blocks"][0]["text"]["type"] == "mrkdwn" and len(post["blocks"][0]["text"]["text"]) <= 3000 and post["text"], post)
    check(slack.dollars("12.349000000000") == "$12.34" and slack.dollars("0.5") == "$0.50", "amounts are cut as text")
    print(f"slack: {len(messages)} posts, names escaped")


def worker(world: World, hook: Hook, messages: list[dict]) -> None:
    """The process behind a queue: duplicates, one that fails first, one that can never be read."""
    queue = world.queue("work", dead_letter=True)
    for message in messages:
        for text in [json.dumps(message), json.dumps(message), later(json.dumps(message))]:
            world.sqs.send_message(QueueUrl=queue, MessageBody=text)
    for one in [*world.received["wrapped"], *world.received["events"]]:
        world.sqs.send_message(QueueUrl=queue, MessageBody=one["Body"])
    world.sqs.send_message(QueueUrl=queue, MessageBody="not JSON")
    world.sqs.send_message(QueueUrl=queue, MessageBody='{"schema": "sluice.breach/2"}')
    hook.fail(2)
    words = [sys.executable, CONSUMERS / "sqs/worker.py", queue, world.claims, hook.url, "--until-empty"]
    env = {**os.environ, "AWS_ENDPOINT_URL": world.endpoint, "PYTHONPATH": str(CONSUMERS)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)
    check(done.returncode == 0, done.stderr)
    got = hook.take()
    posted = [one.key for one in got if one.status == 200]
    check(sorted(posted) == sorted(ids(messages)), f"{len(posted)} posts for {len(messages)} messages\n{done.stderr}")
    check([one.status for one in got].count(500) == 2 and "left for later" in done.stderr and "of another form" in done.stderr, done.stderr)
    left = world.drain("work-dead", wait=1)
    check([one["Body"] for one in left] == ["not JSON"], f"in the dead-letter queue: {left}")
    print(f"sqs: {len(messages)} messages acted on once each, 2 after a failure; what cannot be read is in the dead-letter queue")


def typescript(world: World, hook: Hook, messages: list[dict]) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        missing = "no node or npm found (Debian: apt-get install nodejs npm)"
        check(os.environ.get("CI") != "true" and os.environ.get("SLUICE_LIVE") != "1", missing)
        print(f"not run: the consumer in TypeScript, {missing}")
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    here = pathlib.Path(__file__).resolve().parent
    flags = ROOT / "tests/live/flags"
    for file in [flags / "package.json", here / "tsconfig.json", here / "hand.mjs", CONSUMERS / "typescript/consumer.ts"]:
        shutil.copy(file, CACHE)
    stamp, wanted = CACHE / ".installed", (CACHE / "package.json").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=CACHE, check=True)
        stamp.write_text(wanted)
    subprocess.run(["npx", "--no-install", "tsc"], cwd=CACHE, check=True)
    texts = [json.dumps(message) for message in messages]
    wrapped = [one["Body"] for one in [*world.received["wrapped"], *world.received["events"]]]
    bodies = [*texts, *texts, *map(later, texts), *wrapped, '{"schema": "sluice.breach/2"}', "not JSON"]
    hook.fail(1)
    order = json.dumps([{"messageId": str(number), "body": body} for number, body in enumerate(bodies)])
    env = {**os.environ, "AWS_ENDPOINT_URL": world.endpoint, "CLAIMS_TABLE": world.claims, "TARGET_URL": hook.url}
    said = subprocess.run(["node", "hand.mjs"], cwd=CACHE, env=env, input=order, capture_output=True, text=True, check=False)
    check(said.returncode == 0, said.stderr)
    failures = [int(one["itemIdentifier"]) for one in json.loads(said.stdout)["batchItemFailures"]]
    check(failures == [0, len(bodies) - 1], f"failed: {failures} of {len(bodies)}")
    posted = [one.key for one in hook.take() if one.status == 200]
    check(sorted(posted) == sorted(ids(messages)), f"{len(posted)} posts for {len(messages)} messages")
    print(f"typescript: {len(bodies)} records, {len(posted)} acted on, the two that failed are named")


def dying(world: World, messages: list[dict]) -> None:
    """A consumer that dies between claim and action is taken over when its time is up, and not before."""
    from once import Busy, Once

    now, acted = [1000.0], []
    once = Once(world.claims, "dying", world.dynamo, clock=lambda: now[0])
    message = messages[0]
    once._begin({"pk": {"S": f"dying#{message.get('fire_id') or message['notice_id']}"}})
    with contextlib.suppress(Busy):
        once.act(message, acted.append)
        raise SystemExit("acted while another copy is at it")
    now[0] += 121
    check(once.act(message, acted.append) and not once.act(message, acted.append) and len(acted) == 1, "taken over once")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        many = [pool.submit(Once(world.claims, "race", world.dynamo).act, message, acted.append) for _ in range(24)]
    for one in many:
        check(one.exception() is None or isinstance(one.exception(), Busy), one.exception())
    check(len(acted) == 2, f"24 at the same time acted {len(acted) - 1} times")
    print("a claim of a consumer that died is taken over once; of 24 at the same time one acts")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1")
    with tempfile.TemporaryDirectory(prefix="sluice-consumers-") as folder, contextlib.ExitStack() as stack:
        world = World(pathlib.Path(folder), args.bin, stack)
        os.environ["AWS_ENDPOINT_URL"] = world.endpoint
        boto3.setup_default_session()
        hook = stack.enter_context(Hook())
        world.tell()
        messages = forms(world)
        functions(world, hook, messages)
        worker(world, hook, messages)
        typescript(world, hook, messages)
        dying(world, messages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
