"""What the guides say is so: links lead somewhere, commands exist with their flags, alarms and runbook agree.

    check.py --bin SLUICE        # a build with --features aws,kafka

Commands of `sluice` are held against what its --help tells, commands of `aws` against the models of botocore. Needs boto3.
"""

import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys

import botocore.session
from botocore import xform_name

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/deploy/dashboards"))
import names  # noqa: E402

PATHS = r"`((?:deploy|docs|tests|src|schemas|ingest|enrich|aggregate|enforce|bench|fuzz)/[\w./-]+)`"
# Commands of the AWS CLI that are no operation of an API, and its own options.
CLI_ONLY = {("s3", "sync"), ("s3", "cp"), ("s3", "ls"), ("s3", "rm"), ("s3", "mb"), ("s3", "rb"), ("logs", "tail"), ("cloudformation", "deploy"),
            ("cloudformation", "package"), ("cloudformation", "wait"), ("ecs", "wait"), ("ecr", "get-login-password"), ("configure", "get"),
            ("configure", "export-credentials")}
CLI_OPTIONS = {"query", "output", "region", "profile", "endpoint-url", "no-paginate", "max-items", "no-cli-pager", "cli-input-json",
               "cli-binary-format", "page-size", "zip-file", "generate-cli-skeleton", "starting-token"}
# Where the CLI calls a parameter otherwise than the API.
CLI_NAMES = {("sns", "subscribe"): {"notification-endpoint"}}


def documents() -> list[pathlib.Path]:
    words = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.split("\n") if line and (ROOT / line).is_file()]


def links(faults: list[str]) -> int:
    seen = 0
    for document in documents():
        text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            seen += 1
            path, _, anchor = target.partition("#")
            found = (document.parent / path).resolve() if path else document
            where = f"{document.relative_to(ROOT)}: {target}"
            if not found.exists():
                faults.append(f"{where}: no such file")
            elif anchor and found.suffix == ".md" and anchor not in names.anchors(found):
                faults.append(f"{where}: no such heading")
    return seen


def named_files(faults: list[str]) -> int:
    """Files of the project that are named in running text are there."""
    seen = 0
    for document in documents():
        if document.name == "CHANGELOG.md":
            continue
        bases = [ROOT, document.parent, *(ROOT / part for part in ["src", "deploy"])]
        for path in re.findall(PATHS, document.read_text(encoding="utf-8")):
            seen += 1
            # `lever-NAME.json` stands for many.
            if not re.search(r"[A-Z]{4}", path) and not any((base / path).exists() for base in bases):
                faults.append(f"{document.relative_to(ROOT)}: {path}: no such file")
    return seen


class Help:
    """Verbs and flags of the program, as it tells them."""

    def __init__(self, binary: str):
        self.binary, self.known = binary, {}

    def of(self, verbs: tuple[str, ...]) -> tuple[set[str], dict[str, set[str]]]:
        """Verbs below, and flags with their possible values (none: any, or no value)."""
        if verbs not in self.known:
            text = subprocess.run([self.binary, *verbs, "--help"], capture_output=True, text=True, check=True).stdout
            commands = re.search(r"^Commands:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
            below = set(re.findall(r"^  ([a-z][a-z-]*)\s", commands[1], re.M)) - {"help"} if commands else set()
            flags = {}
            for block in re.split(r"\n(?=\s+(?:-\w, )?--)", text):
                head = re.match(r"\s+(?:(-\w), )?(--[a-z0-9-]+)(?:\.\.\.)?(\s+<|\s*\[)?", block)
                if head:
                    values = set(re.findall(r"^\s+- ([a-z0-9_-]+):", block, re.M))
                    flags[head[2]] = flags[head[1] or head[2]] = (bool(head[3]) and "<" in (head[3] or ""), values)
            self.known[verbs] = below, flags
        return self.known[verbs]


def commands(text: str) -> list[str]:
    """Command lines of fenced blocks (continued lines joined) and of inline code."""
    found = []
    fenced = re.findall(r"^[ ]*```(?:console|sh|bash)?\n(.*?)^[ ]*```", text, re.M | re.S)
    for block in fenced:
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            line = line.strip().removeprefix("$ ")
            if re.match(r"(sluice|aws) [a-z]", line):
                found += re.split(r"\s+&&\s+|\s+\|\s+", line)
    # Running text: a line break inside code is a space.
    bare = re.sub(r"(?<!\n)\n *(?=\S)", " ", re.sub(r"^[ ]*```.*?^[ ]*```", "", text, flags=re.M | re.S))
    found += [code for code in re.findall(r"`([^`\n]+)`", bare) if re.match(r"(sluice|aws) [a-z]", code)]
    return [one for line in found for one in re.split(r"\s+· ", line) if re.match(r"(sluice|aws) [a-z]", one)]


def words_of(line: str) -> list[str]:
    try:
        return shlex.split(line.replace("…", "X"), comments=True)
    except ValueError as error:
        raise SystemExit(f"cannot be read as a command line: {line}: {error}") from error


def sluice(line: str, known: Help) -> str | None:
    """Why a command line is none, if it is none."""
    verbs, words = (), words_of(line)[1:]
    below, flags = known.of(verbs)
    while words and below:
        # `sluice lever stop/start` in running text stands for both.
        if words[0].split("/")[0] not in below:
            return None if words[0].startswith(("-", "X")) else f"no verb {' '.join([*verbs, words[0]])}"
        verbs += (words.pop(0).split("/")[0],)
        below, flags = known.of(verbs)
    while words:
        word = words.pop(0).strip("[]")
        name, _, value = word.partition("=")
        if not re.match(r"--?[a-z]", name):
            continue
        if name not in flags:
            return f"{' '.join(verbs)} has no {name}"
        takes, values = flags[name]
        if takes and not value:
            if not words:
                continue
            value = words.pop(0)
        if values and value and value not in values and not re.search(r"[A-Z|]", value):
            return f"{name} takes no {value}"
    return None


def aws(line: str, session) -> str | None:
    words = words_of(line)[1:]
    service, operation = words[0], next(iter(words[1:]), "")
    if (service, operation) in CLI_ONLY or not operation or operation == "X":
        return None
    if service not in session.get_available_services() and service != "s3api":
        return f"no service {service}"
    model = session.get_service_model("s3" if service == "s3api" else service)
    named = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in named:
        return f"no operation {operation}"
    shape = model.operation_model(named[operation]).input_shape
    takes = {xform_name(name, "-") for name in (shape.members if shape else {})} | CLI_NAMES.get((service, operation), set())
    for word in words[2:]:
        option = re.match(r"--([a-z][a-z0-9-]*)", word)
        if option and option[1] not in takes | CLI_OPTIONS and option[1].removeprefix("no-") not in takes:
            return f"{operation} has no --{option[1]}"
    return None


def command_lines(binary: str, faults: list[str]) -> tuple[int, int]:
    known, session, seen = Help(binary), botocore.session.get_session(), {"sluice": 0, "aws": 0}
    # Whoever finds nothing must be able to find something.
    for wrong in ["sluice hold lost", "sluice hold list --forms table", "sluice prices import f --from gcp", "sluice nothing"]:
        if not sluice(wrong, known):
            raise SystemExit(f"not noticed: {wrong}")
    for wrong in ["aws sns publish --topic x", "aws nothing list", "aws sns subscribed"]:
        if not aws(wrong, session):
            raise SystemExit(f"not noticed: {wrong}")
    for document in documents():
        if document.name == "CHANGELOG.md":
            continue
        for line in commands(document.read_text(encoding="utf-8")):
            program = line.split()[0]
            seen[program] += 1
            fault = sluice(line, known) if program == "sluice" else aws(line, session)
            if fault:
                faults.append(f"{document.relative_to(ROOT)}: {line}: {fault}")
    return seen["sluice"], seen["aws"]


def index(faults: list[str]) -> None:
    """Every guide is in the index, and every file of schemas and consumers is named by some document."""
    listed = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    told = "".join(document.read_text(encoding="utf-8") for document in documents())
    faults += [f"docs/README.md: leads not to {guide.name}" for guide in sorted((ROOT / "docs").glob("*.md"))
               if guide.name != "README.md" and f"({guide.name})" not in listed]
    published = [*(ROOT / "schemas/json").glob("*.json"), *(ROOT / "deploy/consumers").rglob("*.py"), *(ROOT / "deploy/consumers").rglob("*.ts")]
    faults += [f"no document names {file.relative_to(ROOT)}" for file in published if str(file.relative_to(ROOT)) not in told]


def alarms(faults: list[str]) -> int:
    pages = names.runbook()
    if len(set(pages)) != len(pages):
        faults.append("the runbook has a section twice")
    made = ROOT / "deploy/cloudformation/alarms.json"
    if made.exists():
        wanted = {alarm["name"] for alarm in json.loads(made.read_text(encoding="utf-8"))}
        difference = wanted ^ (set(pages) - names.PROMETHEUS_ONLY)
        if difference:
            faults.append(f"alarms of the template and sections of the runbook differ: {sorted(difference)}")
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for page in set(pages) - names.PROMETHEUS_ONLY:
        section = re.split(r"^#", text.split(f"\n## {page}\n", 1)[1], maxsplit=1, flags=re.M)[0]
        for part in ["**Means.**", "**At stake.**"]:
            if part not in section:
                faults.append(f"runbook, {page}: nothing about {part}")
    return len(pages)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    faults: list[str] = []
    led, pages = links(faults) + named_files(faults), alarms(faults)
    index(faults)
    ours, theirs = command_lines(args.bin, faults)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(documents())} documents: {led} links, {ours} commands of sluice, {theirs} of aws, {pages} alarms; {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
