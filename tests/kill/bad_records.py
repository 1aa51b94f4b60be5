"""Records: good ones, and one of every way in which a record can be bad that we could think of."""

import json
import uuid

ARN = "arn:aws:sts::111122223333:assumed-role/agents/app-1"
TIME = "2026-10-01T12:00:00Z"
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def record(**changes) -> dict:
    """Returns a good record with some keys changed; None removes one."""
    good = {
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": TIME, "accountId": "111122223333", "identity": {"arn": ARN},
        "region": "us-east-1", "requestId": str(uuid.uuid4()), "operation": "Converse", "modelId": MODEL,
        "requestMetadata": {"agent_id": "checkout-bot", "session_id": "s-1"},
        "input": {"inputContentType": "application/json", "inputTokenCount": 1000},
        "output": {"outputContentType": "application/json", "outputTokenCount": 100},
    }  # fmt: skip
    good.update(changes)
    return {key: value for key, value in good.items() if value is not None}


def line(**changes) -> bytes:
    """Returns a good record as a line without its end."""
    return json.dumps(record(**changes), ensure_ascii=False).encode()


def with_input(text: str) -> bytes:
    """Returns a record whose `inputTokenCount` is this text."""
    return line(input={"inputTokenCount": 424242}).replace(b"424242", text.encode())


def with_body(body: bytes) -> bytes:
    """Returns a good record with this text for its response body."""
    return line(output={"outputBodyJson": "BODY", "outputTokenCount": 100}).replace(b'"BODY"', body)


def first(start: bytes) -> bytes:
    """Returns a record with these bytes before its first key."""
    return b"{" + start + line()[1:]


NUMBER = {"out_of_range", "malformed_field", "not_json"}
TIMESTAMP = {"bad_timestamp", "malformed_field"}
SYNTAX = {"not_json", "unbalanced"}

# Name, bytes, reasons that would be right.
BAD: list[tuple[str, bytes, set[str]]] = [
    ("cut in a string", line()[:150], SYNTAX),
    ("cut after a comma", line()[: line().index(b'"accountId"')], SYNTAX),
    ("text", b"ERROR 503 upstream connect error", SYNTAX),
    ("html", b"<html><body>Access Denied</body></html>", SYNTAX),
    ("two records in one line, no comma", line() + line()[:-1], SYNTAX),
    ("a bracket too much", line() + b"}", SYNTAX),
    ("brackets mixed up", line()[:-2] + b"]}", SYNTAX),
    ("single quotes", line().replace(b'"', b"'"), SYNTAX),
    ("a comma before the end", line()[:-1] + b",}", SYNTAX),
    ("array", b"[1]", {"unknown_kind", "malformed_field", "not_json"}),
    ("number", b"42", {"unknown_kind", "not_json"}),
    ("null", b"null", {"unknown_kind", "not_json"}),
    ("text in quotes", b'"hello"', {"unknown_kind", "not_json"}),
    ("empty object", b"{}", {"unknown_kind", "missing_field"}),
    ("another kind", b'{"hello":"world"}', {"unknown_kind", "missing_field"}),
    ("another schema", line(schemaType="SomethingElse"), {"unknown_kind", "malformed_field"}),
    ("no request id", line(requestId=None), {"missing_field"}),
    ("no timestamp", line(timestamp=None), {"missing_field"}),
    ("no model", line(modelId=None), {"missing_field"}),
    ("request id is a number", line(requestId=17), {"malformed_field"}),
    ("request id is a list", line(requestId=["a"]), {"malformed_field"}),
    ("request id is null", first(b'"x":1,').replace(b'"requestId": "', b'"requestId": null, "y": "'), {"malformed_field", "missing_field"}),
    ("timestamp is a number", line(timestamp=1790812800), {"malformed_field", "bad_timestamp"}),
    ("model is an object", line(modelId={"id": MODEL}), {"malformed_field"}),
    ("input is a list", line(input=[1]), {"malformed_field"}),
    ("tokens are an object", line(input={"inputTokenCount": {"n": 1}}), NUMBER),
    ("tokens are a text", line(input={"inputTokenCount": "1000"}), NUMBER),
    ("tokens are true", line(input={"inputTokenCount": True}), NUMBER),
    ("tokens are a fraction", with_input("10.5"), NUMBER),
    ("tokens are negative", with_input("-5"), NUMBER),
    ("tokens are NaN", with_input("NaN"), NUMBER),
    ("tokens are Infinity", with_input("Infinity"), NUMBER),
    ("tokens are 1e300", with_input("1e300"), NUMBER),
    ("tokens are 2^64", with_input("18446744073709551616"), NUMBER),
    ("tokens are 2^40 + 1", with_input("1099511627777"), NUMBER),
    ("tokens of four hundred digits", with_input("9" * 400), NUMBER),
    ("tokens start with zeros", with_input("0017"), NUMBER),
    ("tokens in hexadecimal", with_input("0x10"), NUMBER),
    ("request id twice", first(b'"requestId":"00000000-0000-4000-8000-000000000bad",'), {"duplicate_field"}),
    ("model twice", first(b'"modelId":"amazon.nova-micro-v1:0",'), {"duplicate_field"}),
    ("tokens twice", line(input={"inputTokenCount": 1}).replace(b'"inputTokenCount"', b'"inputTokenCount":0,"inputTokenCount"'), {"duplicate_field"}),
    ("request id twice, once in escapes", first(b'"\\u0072equestId":"00000000-0000-4000-8000-000000000bad",'), {"duplicate_field"}),
    ("arn twice", line().replace(b'{"arn"', b'{"arn":"arn:aws:iam::999999999999:user/mallory","arn"'), {"duplicate_field"}),
    ("year 9999", line(timestamp="9999-12-31T23:59:59Z"), TIMESTAMP),
    ("year 1969", line(timestamp="1969-12-31T23:59:59Z"), TIMESTAMP),
    ("year 0000", line(timestamp="0000-01-01T00:00:00Z"), TIMESTAMP),
    ("30 February", line(timestamp="2026-02-30T00:00:00Z"), TIMESTAMP),
    ("25 o'clock", line(timestamp="2026-10-01T25:00:00Z"), TIMESTAMP),
    ("no zone", line(timestamp="2026-10-01T12:00:00"), TIMESTAMP),
    ("time in words", line(timestamp="yesterday"), TIMESTAMP),
    ("empty time", line(timestamp=""), TIMESTAMP | {"missing_field"}),
    ("raw control character in the identity", line().replace(b"/agents/", b"/age\x07nts/"), {"not_json", "malformed_field"}),
    ("NUL in the identity", line().replace(b"/agents/", b"/age\x00nts/"), {"not_json", "malformed_field"}),
    ("not UTF-8 in the identity", line().replace(b"/agents/", b"/age\xc3\x28nts/"), {"not_utf8"}),
    ("half a surrogate in the identity", line().replace(b"/agents/", b"/age\\ud800nts/"), {"not_utf8", "malformed_field", "not_json"}),
    ("bad escape in the identity", line().replace(b"/agents/", b"/age\\xnts/"), {"not_json", "malformed_field"}),
    ("a million brackets", b"[" * 1_000_000, {"too_deep", "unbalanced", "not_json"}),
    ("unbalanced body", with_body(b'{"a":[}'), SYNTAX),
]  # fmt: skip

# Odd, and all the same readable: each is one call.
ODD: list[tuple[str, bytes]] = [
    ("white space", b"  \t" + line().replace(b",", b" ,\t ") + b"  "),
    ("carriage return", line() + b"\r"),
    ("keys in escapes", line().replace(b'"requestId"', b'"\\u0072equest\\u0049d"')),
    ("unknown keys", first(b'"futureKey":{"deep":[1,{"x":null}]},')),
    ("traps in a body", with_body(b'{"requestId":"x","inputTokenCount":999999,"usage":{"text":"\\"outputTokenCount\\":5"}}')),
    ("braces in strings", with_body(b'"}}]]{{[[ \\" \\\\"')),
    ("twenty thousand brackets", first(b'"x":' + b"[" * 20_000 + b"]" * 20_000 + b",")),
    ("deep objects in a body", with_body(b'{"a":' * 5000 + b"1" + b"}" * 5000)),
    ("fraction of a second", line(timestamp="2026-10-01T12:00:00.123Z")),
    ("request id of another form", line(requestId="not-a-uuid/01")),
    ("request id in capitals", line(requestId=str(uuid.uuid4()).upper())),
    ("no metadata", line(requestMetadata=None)),
    ("failed", line(errorCode="ThrottlingException", input={}, output={})),
]
