"""Every question in SQL that a document asks with `sluice query` is asked of a small lake: it has to be understood.

    queries.py --bin SLUICE
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import check


def questions() -> list[tuple[str, str]]:
    found = []
    for document in check.documents():
        for line in check.commands(document.read_text(encoding="utf-8")):
            words = check.words_of(line)
            if words[:2] == ["sluice", "query"] and len(words) > 2 and words[2].upper().startswith(("SELECT ", "WITH ")):
                found.append((str(document.relative_to(check.ROOT)), words[2]))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    binary = os.path.abspath(args.bin)
    asked = questions()
    if len(asked) < 5:
        raise SystemExit(f"only {len(asked)} questions were found")
    with tempfile.TemporaryDirectory(prefix="sluice-queries-") as name:
        folder, quiet = pathlib.Path(name), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True, "cwd": name}
        subprocess.run([binary, "simulate", "logs", "--calls", "500", "--shape", "meta", "--bad-per-100k", "2000"], **quiet)
        subprocess.run([binary, "replay", "logs", "--lake", "lake"], **quiet)
        for where, sql in asked:
            done = subprocess.run([binary, "query", sql, "--lake", folder / "lake"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"{where}: {sql}\n{done.stderr}")
    print(f"{len(asked)} questions of the documents are understood")
    return 0


if __name__ == "__main__":
    sys.exit(main())
