"""Follows docs/quick-start.md as a reader would, with simulated logs: every command that needs no AWS account, in order, has to work.

    quick_start.py --bin SLUICE
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone

import check

GUIDE = check.ROOT / "docs/quick-start.md"
# Commands that ask AWS, and the one that never ends by itself.
LEFT_OUT = [r"^aws ", r"s3://", r"logs:/", r"lever check"]


class Reader:
    def __init__(self, binary: str, folder: pathlib.Path):
        self.binary, self.folder, self.daemon, self.lake = os.path.abspath(binary), folder, None, folder / "lake"

    def run(self, *words: str, seconds: float = 60) -> str:
        done = subprocess.run([self.binary, *words], cwd=self.folder, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode != 0:
            raise SystemExit(f"sluice {shlex.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def first(self, *words: str) -> str:
        """The first field of the second line of a CSV answer."""
        lines = self.run(*words, "--format", "csv").splitlines()
        if len(lines) < 2:
            raise SystemExit(f"{shlex.join(words)} shows nothing")
        return lines[1].split(",")[0]

    def logs(self) -> None:
        start = (datetime.now(timezone.utc) - timedelta(hours=3)).strftime("%Y-%m-%dT%H:00:00Z")
        words = ["simulate", "AWSLogs", "--layout", "s3", "--calls", "3000", "--shape", "meta", "--start", start, "--span", "2h"]
        self.run(*words)

    def files(self) -> None:
        for name, text in re.findall(r"^```toml\n# (\S+)\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S):
            # The simulated agents spend little: with the limit of the guide nothing would happen, nor on a day that has just begun.
            text = text.replace("25.00 USD", "1.00 USD").replace('window = "day"', 'window = "lifetime"')
            (self.folder / name).write_text(text, encoding="utf-8")

    def follow(self, line: str) -> str:
        words = check.words_of(line)[1:]
        match words[:2]:
            case ["run", *_]:
                # A daemon makes its lake anew: that of the look back was of another configuration.
                self.lake.rename(self.folder / "lake-of-the-past")
                log = open(self.folder / "daemon.log", "wb")
                self.daemon = subprocess.Popen([self.binary, *words], cwd=self.folder, stdout=log, stderr=log)
                return self.wait(words)
            case ["top", *_]:
                watched = subprocess.Popen([self.binary, *words], cwd=self.folder, stdout=subprocess.PIPE, text=True)
                line = watched.stdout.readline()
                watched.terminate()
                watched.wait(10)
                return line
            case ["explain", _]:
                words[1] = self.first("query", "SELECT request_id FROM calls LIMIT 1", "--lake", "lake")
            case ["hold", "show"]:
                words[2] = self.first("hold", "list", *words[3:])
        return self.run(*words)

    def wait(self, words: list[str]) -> str:
        end = time.monotonic() + 30
        while subprocess.run([self.binary, "status", *words[1:]], cwd=self.folder, capture_output=True, check=False).returncode != 0:
            if time.monotonic() > end or self.daemon.poll() is not None:
                raise SystemExit((self.folder / "daemon.log").read_text(encoding="utf-8"))
            time.sleep(0.2)
        time.sleep(3)
        return "running"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    text = GUIDE.read_text(encoding="utf-8")
    # What stands in fences, in order; the rest is said in passing.
    lines = [line for block in re.findall(r"^ *```console\n(.*?)^ *```", text, re.M | re.S) for line in check.commands(f"```console\n{block}```\n")]
    with tempfile.TemporaryDirectory(prefix="sluice-quick-start-") as folder:
        reader = Reader(args.bin, pathlib.Path(folder))
        reader.logs()
        reader.files()
        done = left = 0
        try:
            for line in lines:
                if any(re.search(pattern, line) for pattern in LEFT_OUT):
                    left += 1
                    continue
                said = reader.follow(line)
                if not said.strip():
                    raise SystemExit(f"{line} says nothing")
                done += 1
        finally:
            if reader.daemon:
                reader.daemon.terminate()
                reader.daemon.wait(60)
    print(f"quick-start: {done} commands followed, {left} left out because they ask AWS")
    return 0


if __name__ == "__main__":
    sys.exit(main())
