"""Shapes that real exports, editors and attackers make of the same records: what can be read is read, the rest has its row."""

import gzip
import json
import os
import struct
import zlib

from bad_records import line, record
from cases import Place, case, lines
from lake import pico

MIB = 1 << 20
RSS_LIMIT = 400
MARK = b"\xef\xbb\xbf"


def envelope(messages: list, **changes) -> bytes:
    """Returns a CloudWatch Logs subscription envelope around these messages."""
    made = {
        "messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": "bedrock", "logStream": "s", "subscriptionFilters": ["f"],
        "logEvents": [{"id": str(number), "timestamp": 1790856000000, "message": message} for number, message in enumerate(messages)],
    }  # fmt: skip
    made.update(changes)
    return json.dumps(made, ensure_ascii=False).encode()


def settled(place: Place, ids: list[str], rejected: int, *options: str) -> dict:
    """Replays and compares: these calls, so many refused records, and nothing changes when it is done again."""
    summary = place.replay(*options)
    place.expect("calls", place.ids(), sorted(ids))
    place.expect("rejected", (summary["rejected"], len(place.rows("rejected"))), (rejected, rejected))
    place.expect("records", summary["records"], sum(summary[key] for key in ("facts", "duplicates", "rejected", "trail_events", "control_messages")))
    again = place.replay(*options)
    place.expect("again", (again["facts"], again["rejected"], len(place.rows("rejected"))), (0, 0, rejected))
    return summary


def measured(place: Place) -> None:
    """Replays and fails beyond the limit of memory."""
    process = place.sluice.start("replay", place.logs, "--lake", place.lake, "--format", "json")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    place.expect("exit code", process.returncode, 0)
    if usage.ru_maxrss / 1024 > RSS_LIMIT:
        place.faults.append(f"took {usage.ru_maxrss / 1024:.0f} MiB, more than {RSS_LIMIT}")


@case
def byte_order_marks(place: Place) -> None:
    """A mark before a file, a document, an envelope, each joined file; compressed or not."""
    good, ids = lines(9)
    place.put("lines.jsonl", MARK + good[0] + b"\n" + good[1] + b"\n")
    place.put("joined.jsonl", MARK + good[2] + b"\n" + MARK + good[3] + b"\n")
    place.put("pretty.json", MARK + json.dumps(json.loads(good[4]), indent=2).encode())
    place.put("lines.json.gz", gzip.compress(MARK + good[5] + b"\n"))
    place.put("pretty.json.gz", gzip.compress(MARK + json.dumps(json.loads(good[6]), indent=1).encode()))
    place.put("envelope.json", MARK + envelope([good[7].decode()]))
    place.put("array.json", MARK + b"[\n" + good[8] + b"\n]")
    place.put("nothing.json", MARK)
    settled(place, ids, 0)


@case
def other_encodings(place: Place) -> None:
    """UTF-16 and Latin-1 are refused by line; their neighbours are read."""
    good, ids = lines(2)
    place.put("a.jsonl", good[0] + b"\n")
    wide = line().decode().encode("utf-16")
    place.put("wide.jsonl", wide + "\n".encode("utf-16-le"))
    place.put("latin.jsonl", line(requestMetadata={"agent_id": "Müller"}).decode().encode("latin-1") + b"\n" + good[1] + b"\n")
    summary = place.replay()
    place.expect("calls", place.ids(), sorted(ids))
    if not 2 <= summary["rejected"] <= 4:
        place.faults.append(f"{summary['rejected']} refused")


@case
def line_ends_of_others(place: Place) -> None:
    """Carriage returns alone, none at all, form feeds, and separators that JSON does not know."""
    good, ids = lines(6)
    place.put("mac.jsonl", good[0] + b"\r" + good[1] + b"\r")
    place.put("none.jsonl", good[2] + good[3])
    place.put("separator.jsonl", line() + "\u2028".encode() + line() + b"\n" + good[4] + b"\n")
    place.put("feed.jsonl", b"\f\n\v\n" + good[5] + b"\n\f")
    summary = place.replay()
    missing = set(ids) - set(place.ids())
    place.expect("neighbours lost", sorted(missing), [])
    place.expect("records", summary["records"], summary["facts"] + summary["rejected"])


@case
def commas_between_records(place: Place) -> None:
    """Lines of an array without its brackets, and an array over lines that was cut: no neighbour is lost."""
    good, ids = lines(3)
    place.put("commas.jsonl", line() + b",\n" + good[0] + b"\n")
    place.put("array.json", b"[" + good[1] + b",\n" + good[2] + b"]")
    settled(place, ids, 1)


@case
def containers_in_containers(place: Place) -> None:
    """Arrays of arrays, envelopes in envelopes, records of both services in one list."""
    good, ids = lines(7)
    objects = [json.loads(one) for one in good]
    trail = {"eventVersion": "1.11", "eventID": "e-1", "eventTime": "2026-10-01T00:00:00Z", "eventSource": "bedrock.amazonaws.com", "eventName": "Converse"}
    place.put("arrays.json", json.dumps([[objects[0]], [[objects[1]]]]).encode())
    place.put("records.json", json.dumps({"Records": [trail, objects[2]]}).encode())
    inner = envelope([good[3].decode(), json.dumps([objects[4]]), json.dumps(objects[5], indent=2)])
    place.put("envelopes.json.gz", gzip.compress(envelope([inner.decode(), "", "Permissions are correctly set for Amazon Bedrock logs.", "{"])))
    place.put("bomb.json", b"[" * 100 + good[6] + b"]" * 100)
    summary = settled(place, ids[:6], 3)
    place.expect("trail and control", (summary["trail_events"], summary["control_messages"]), (1, 1))


@case
def envelopes_of_the_wrong_form(place: Place) -> None:
    """Envelopes whose events are none, twice, or not a list; control messages in any form."""
    good, ids = lines(2)
    place.put("a.json", envelope([good[0].decode()]) + b"\n" + envelope([], messageType="CONTROL_MESSAGE"))
    place.put("control.json.gz", gzip.compress(envelope(["CWL CONTROL MESSAGE: Checking health of destination"], messageType="CONTROL_MESSAGE")))
    wrong = [envelope([], logEvents=events) for events in (None, {}, "x", 7, [None], ["x"], [{"id": "1"}])]
    twice = envelope([line().decode()])[:-1] + b',"logEvents":[]}'
    place.put("wrong.jsonl", b"\n".join([*wrong, twice, good[1]]) + b"\n")
    summary = place.replay()
    place.expect("calls", place.ids(), sorted(ids))
    place.expect("control", summary["control_messages"], 2)
    place.expect("rejected", summary["rejected"], len(wrong) + 1)


def member(data: bytes, flags: int, extra: bytes) -> bytes:
    """Returns a gzip member with optional header fields."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(4) + b"\x00\xff" + extra + body + struct.pack("<II", zlib.crc32(data), len(data))


@case
def gzip_as_others_write_it(place: Place) -> None:
    """Header fields, empty members, padding, a sound member before a spoilt one."""
    good, ids = lines(6)
    fields = struct.pack("<H", 6) + b"AB\x02\x00xy" + b"name.json\x00" + b"comment\x00"
    place.put("fields.json.gz", member(good[0] + b"\n", 4 | 8 | 16, fields))
    place.put("empties.json.gz", gzip.compress(b"") + gzip.compress(good[1] + b"\n") + gzip.compress(b"") + gzip.compress(good[2] + b"\n"))
    place.put("split.json.gz", gzip.compress(good[3][:100]) + gzip.compress(good[3][100:] + b"\n"))
    place.put("padded.json.gz", gzip.compress(good[4] + b"\n") + bytes(512))
    place.put("spoilt.json.gz", gzip.compress(good[5] + b"\n") + gzip.compress(line() + b"\n")[:40])
    summary = place.replay()
    place.expect("calls", place.ids(), sorted(ids))
    spoilt = {os.path.basename(row["source"]) for row in place.rows("rejected")}
    place.expect("refused", (summary["rejected"], spoilt - {"padded.json.gz"}), (len(spoilt), {"spoilt.json.gz"}))


@case
def times_of_every_form(place: Place) -> None:
    """UTC in every spelling; other zones, 24 o'clock, a fifth digit of the year and blanks are refused, not guessed at."""
    good = ["2026-10-01T12:00:00+00:00", "2026-10-01T12:00:00.123456789Z", "2026-10-01T12:00:00.5z"]
    bad = ["2026-10-01T14:00:00+02:00", "2026-10-01T12:00:00-00:00", "2026-10-01T24:00:00Z", "12026-10-01T12:00:00Z", "2026-10-01T12:00:00Z ", "+2026-10-01T12:00:00Z", "2026-10-01T12:00:00+99:00", "2026-W40-4T12:00:00Z", "٢٠٢٦-10-01T12:00:00Z"]
    place.put("a.jsonl", b"\n".join(line(timestamp=text) for text in good + bad) + b"\n")
    summary = place.replay()
    place.expect("calls and rejected", (summary["facts"], summary["rejected"]), (len(good), len(bad)))
    place.expect("hours", {str(row["event_time"])[:13] for row in place.rows("calls")}, {"2026-10-01 12"})


@case
def fields_of_absurd_size(place: Place) -> None:
    """Ids and models of a mebibyte, a hundred thousand pairs of metadata: no neighbour waits for them."""
    good, ids = lines(2)
    huge = "x" * MIB
    odd = [
        line(requestId=huge), line(modelId=huge), line(region=huge), line(accountId=huge), line(identity={"arn": "arn:aws:iam::1:user/" + huge}),
        line(requestMetadata={f"k{number}": "v" for number in range(100_000)}), line(requestMetadata={"agent_id": {"a": [huge]}}),
        line(requestMetadata={"session_id": huge}), line(errorCode=huge), line(operation=huge), line(requestId=""), line(requestId=" "), line(modelId=""),
    ]  # fmt: skip
    place.put("a.jsonl", b"\n".join([good[0], *odd, good[1]]) + b"\n")
    summary = place.replay()
    place.expect("neighbours lost", sorted(set(ids) - set(place.ids())), [])
    place.expect("records", (summary["records"], summary["facts"] + summary["rejected"]), (len(odd) + 2, len(odd) + 2))
    again = place.replay()
    place.expect("again", (again["facts"], again["rejected"]), (0, 0))


@case
def absent_and_null(place: Place) -> None:
    """Null and absent where AWS leaves things out: a call without tokens, never a lost one."""
    good, ids = lines(1)
    odd = [
        record(input=None), record(output=None), {**record(), "input": None}, {**record(), "output": None}, {**record(), "requestMetadata": None},
        {**record(), "identity": None}, record(identity=None), {**record(), "region": None}, {**record(), "errorCode": None}, record(errorCode=""),
        record(input={"inputTokenCount": None}), record(operation=None), record(schemaVersion=None), record(accountId=None),
    ]  # fmt: skip
    place.put("a.jsonl", b"\n".join(json.dumps(one).encode() for one in odd) + b"\n" + good[0] + b"\n")
    summary = place.replay()
    place.expect("records", (summary["records"], summary["facts"] + summary["rejected"]), (len(odd) + 1, len(odd) + 1))
    place.expect("neighbour", set(ids) <= set(place.ids()), True)
    rows = {row["request_id"]: row for row in place.rows("calls")}
    for one in odd[:4]:
        if (row := rows.get(one["requestId"])) and row["priced"] and pico(row["cost_usd"]) == 0 and row["input_tokens"] == row["output_tokens"] == 0 and not row["error_code"]:
            place.faults.append(f"a call without tokens costs nothing and does not say why: {json.dumps(one)[:200]}")


@case
def bodies_of_attackers(place: Place) -> None:
    """Text in a body sets no field, spoils no neighbour, and need not even be text."""
    good, ids = lines(1)
    bodies = [
        b'{"usage":{"input_tokens":999999}}', b'"\\ud800 \\u0000 \\u202e"', b'"\xff\xfe\xc3\x28"', b'[' * 3000 + b']' * 3000,
        b'{"a":"\\\\","b":"}]}"}', b'"' + b"A" * (9 * MIB) + b'"', b'{"inputTokenCount":7,"requestId":"x","timestamp":"y","":{}}', b"-0.0e-0",
    ]  # fmt: skip
    made = [record(output={"outputBodyJson": "BODY", "outputTokenCount": 100}) for _ in bodies]
    place.put("a.jsonl", b"".join(json.dumps(one).encode().replace(b'"BODY"', body) + b"\n" for one, body in zip(made, bodies)) + good[0] + b"\n")
    place.replay()
    place.expect("calls", place.ids(), sorted([one["requestId"] for one in made] + ids))
    place.expect("tokens", {(row["input_tokens"], row["output_tokens"]) for row in place.rows("calls")}, {(1000, 100)})


@case
def the_layout_of_the_bucket(place: Place) -> None:
    """Bodies below `data/` are no records, whatever they look like; the permission check is no record; odd names are files."""
    good, ids = lines(4)
    folder = os.path.join(place.logs, "AWSLogs", "111122223333", "BedrockModelInvocationLogs", "us-east-1", "2026", "10", "01", "12")
    os.makedirs(os.path.join(folder, "data"))

    def put(path: str, content: bytes) -> None:
        with open(os.path.join(folder.encode(), path.encode() if isinstance(path, str) else path), "wb") as file:
            file.write(content)

    put("20261001T120000000Z_0123456789abcdef.json.gz", gzip.compress(good[0] + b"\n"))
    put("amazon-bedrock-logs-permission-check", b"Permissions are correctly set for Amazon Bedrock logs.")
    put("data/0123_input.json.gz", gzip.compress(line() + b"\n"))
    put("data/0123_output.json", line())
    put(b"\xff\xfe-not-utf8.jsonl", good[1] + b"\n")
    put("spaces and 'quotes' & \u202e.jsonl", good[2] + b"\n")
    os.link(os.path.join(folder, "20261001T120000000Z_0123456789abcdef.json.gz"), os.path.join(folder, "again.json.gz"))
    place.put("top.jsonl", good[3] + b"\n")
    summary = place.replay()
    place.expect("calls", (place.ids(), summary["rejected"]), (sorted(ids), 0))
    place.expect("duplicates", summary["duplicates"] <= 1, True)


@case
def one_id_two_stories(place: Place) -> None:
    """The same request delivered with other numbers is the same call; the first that was read counts, however it is cut."""
    first = record(requestId="11111111-2222-4333-8444-555555555555")
    second = {**first, "input": {"inputTokenCount": 5_000_000}}
    place.put("a.jsonl", json.dumps(first).encode() + b"\n" + json.dumps(second).encode() + b"\n")
    place.put("b.jsonl", json.dumps(second).encode() + b"\n")
    summary = place.replay()
    place.expect("calls and duplicates", (summary["facts"], summary["duplicates"]), (1, 2))
    place.expect("tokens", [row["input_tokens"] for row in place.rows("calls")], [1000])


@case
def a_file_that_grows(place: Place) -> None:
    """A torn last line is told, and read whole once it is whole; a file that shrank is a new one, and its calls count once."""
    good, ids = lines(3)
    path = place.put("a.jsonl", good[0] + b"\n" + good[1][:200])
    place.replay()
    place.expect("calls of the torn file", place.ids(), sorted(ids[:1]))
    with open(path, "ab") as file:
        file.write(good[1][200:] + b"\n")
    place.replay()
    place.expect("calls", place.ids(), sorted(ids[:2]))
    place.put("a.jsonl", good[2] + b"\n")
    place.replay()
    place.expect("calls of the new file", place.ids(), sorted(ids))


@case
def nothing_at_great_length(place: Place) -> None:
    """A gibibyte of zeros, three million empty lines, a thousand empty files: in bounded memory, and their neighbours are read."""
    good, ids = lines(3)
    place.put("a.jsonl", good[0] + b"\n")
    with open(os.path.join(place.logs, "sparse.jsonl"), "wb") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + good[1] + b"\n")
    place.put("blank.jsonl", b"\n" * 3_000_000 + good[2] + b"\n")
    for number in range(1_000):
        place.put(f"empty-{number}.json.gz", gzip.compress(b"") if number % 2 else b"")
    measured(place)
    place.expect("calls", place.ids(), sorted(ids))
    place.expect("rejected", len(place.rows("rejected")), 1)


@case
def many_large_refusals(place: Place) -> None:
    """Refused records of 15 MiB and documents of 60: told with length and hash, in bounded memory and a small lake; of a mebibyte, whole."""
    good, ids = lines(1)
    noise = os.urandom(MIB // 2).hex().encode()
    for number in range(30):
        place.put(f"line-{number}.jsonl", b'{"schemaType":"x' + noise * 15 + b'"}\n')
    for number in range(6):
        place.put(f"document-{number}.json", b'{\n"unknown":"' + noise * 60 + b'"\n}\n')
    whole = b'{"unknown":"' + noise[:-100] + b'"}'
    place.put("whole.jsonl", whole + b"\n" + good[0] + b"\n")
    measured(place)
    place.expect("calls", place.ids(), sorted(ids))
    rows = place.rows("rejected")
    place.expect("rejected", len(rows), 37)
    place.expect("lengths", sorted({row["bytes"] // MIB for row in rows}), [0, 15, 60])
    place.expect("kept whole", [len(row["raw"]) for row in rows if row["source"].endswith("whole.jsonl")], [len(whole)])
    place.expect("kept of the others", {len(row["raw"]) for row in rows if row["bytes"] > MIB}, {64 << 10})
    place.expect("hashes", all(len(row["sha256"]) == 64 for row in rows), True)


@case
def names_in_faults(place: Place) -> None:
    """Names in a configuration that could drive a terminal do not, wherever they are told."""
    place.put("a.jsonl", line(requestMetadata={"agent_id": "a\x1b[31m\u202e"}) + b"\n")
    path = os.path.join(place.root, "evil.toml")
    name = '"evil\\u001b]0;x\\u0007\\u202e\\u009b31m\\n  - forged"'
    for rest in ("limit = 'a lot'\n", "limit = '1 USD'\nwindow = 'fortnight'\n", "limit = '1 USD'\nwindow = 'day'\nwhere = 'no_column = 1'\n"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"[lake]\npath = 'l'\n[[budget]]\nname = {name}\n{rest}")
        for command in (["config", "check"], ["replay", place.logs], ["budget", "list"]):
            code, out, err = place.sluice.call(*command, "--config", path)
            place.expect("exit code", code, 2)
            said = out + err
            if any(char in said for char in "\x1b\x07\u202e\u009b") or "\n  - forged" in said:
                place.faults.append(f"{command} says {said!r}")
