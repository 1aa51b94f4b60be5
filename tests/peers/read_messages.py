"""Holds real messages against the published schemas, by an implementation of JSON Schema that is not ours: read_messages.py < MESSAGES"""

import json
import pathlib
import sys

import jsonschema

SCHEMAS = pathlib.Path(__file__).resolve().parent.parent.parent / "schemas" / "json"


def main():
    validators, seen = {}, {}
    for name in ["breach", "hold", "breaker"]:
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        validators[f"sluice.{name}/1"] = jsonschema.Draft202012Validator(schema)
    for line in sys.stdin:
        message = json.loads(line)
        validator = validators[message["schema"]]
        validator.validate(message)
        seen[message["schema"]] = seen.get(message["schema"], 0) + 1
        # And it does refuse: a field that goes, one that nobody knows.
        needed = validator.schema["required"][-1]
        for broken in [{key: value for key, value in message.items() if key != needed}, {**message, "surprise": 1}]:
            if validator.is_valid(broken):
                raise SystemExit(f"taken, though broken: {broken}")
    if set(seen) != set(validators):
        raise SystemExit(f"not every kind of message was given: {seen}")
    print(", ".join(f"{count} of {schema}" for schema, count in sorted(seen.items())))


main()
