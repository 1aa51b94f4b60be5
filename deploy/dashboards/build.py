"""Writes the dashboards that are shipped, grafana.json and cloudwatch.json, from their descriptions beside this file.

    build.py            # write them
    build.py --check    # say with exit code 1 whether one differs

What a panel shows stands in grafana.py and cloudwatch.py; nobody edits the JSON.
"""

import argparse
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cloudwatch  # noqa: E402
import grafana  # noqa: E402


def texts() -> dict[str, str]:
    made = {"grafana.json": grafana.dashboard(), "cloudwatch.json": cloudwatch.dashboard()}
    return {name: json.dumps(body, indent=1, ensure_ascii=False) + "\n" for name, body in made.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    differ = [name for name, text in texts().items() if not (HERE / name).exists() or (HERE / name).read_text(encoding="utf-8") != text]
    if args.check:
        for name in differ:
            print(f"{name} is not what its description says: run deploy/dashboards/build.py", file=sys.stderr)
        return 1 if differ else 0
    for name, text in texts().items():
        (HERE / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
