"""What the cases of bad_input.py share: a folder and a lake for each, and what is expected of them."""

import json
import os

from bad_records import line
from harness import Sluice, Workdir
from lake import Table

CASES = []


def case(function):
    """Registers a case."""
    CASES.append(function)
    return function


class Place:
    """The folder of one case: logs, a lake, the program."""

    def __init__(self, work: Workdir, binary: str, name: str):
        self.root, self.name, self.faults = work.at(name), name, []
        self.logs, self.lake = os.path.join(self.root, "logs"), os.path.join(self.root, "lake")
        os.makedirs(self.logs)
        self.sluice = Sluice(binary, os.path.join(self.root, "sluice.log"))

    def put(self, name: str, content: bytes) -> str:
        """Writes a log file."""
        path = os.path.join(self.logs, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def replay(self, *options: str) -> dict:
        """Replays the logs, which has to work."""
        return self.sluice.json("replay", self.logs, "--lake", self.lake, *options)

    def expect(self, what: str, found, expected) -> None:
        """Notes a fault where two things differ."""
        if found != expected:
            self.faults.append(f"{what}: {found!r}, not {expected!r}")

    def rows(self, table: str) -> list[dict]:
        """Returns a table's rows."""
        found = Table(self.lake, table)
        return found.rows() if found.exists() else []

    def ids(self) -> list[str]:
        """Returns the request ids of all calls."""
        return sorted(row["request_id"] for row in self.rows("calls"))

    def refuses(self, what: str, word: str, *args: str, codes=(2,), **environment: str) -> str:
        """Runs a command that must fail: with a code of its own and words that help."""
        code, _, err = self.sluice.call(*args, **environment)
        if code not in codes or word not in err:
            self.faults.append(f"{what}: ended with {code}, said {err.strip()[-300:]!r}; wanted {codes} and {word!r}")
        return err


def lines(count: int, **changes) -> tuple[list[bytes], list[str]]:
    """Returns good lines and their request ids."""
    made = [line(**changes) for _ in range(count)]
    return made, [json.loads(one)["requestId"] for one in made]
