"""Places where the program cannot work as it should: wrong use, full disks, spoilt files, two writers on one lake."""

import os
import resource
import signal
import subprocess

from bad_records import line
from cases import Place, case, lines
from harness import answers, wait_until, write_config
from lake import pico


@case
def faults_of_the_command_line(place: Place) -> None:
    """Wrong use: a message that names the thing, and an exit code."""
    place.put("a.jsonl", line() + b"\n")
    place.refuses("missing path", "nowhere", "replay", os.path.join(place.root, "nowhere"), "--lake", place.lake)
    config = os.path.join(place.root, "bad.toml")
    for text, word in (
        ("[lake]\npath = 'l'\ntypo = 1\n", "typo"), ("[lake\n", "bad.toml"), ("[lake]\npath = 'l'\n[[budget]]\nname = 'x'\nlimit = 'a lot'\n", "a lot"),
        ("[lake]\npath = 'l'\n[[window]]\nname = 'w'\nsql = 'SELECT DISTINCT model FROM calls'\n", "w"),
        ("[lake]\npath = 'l'\n[enrich]\nagents_file = 'no-such.toml'\n", "no-such.toml"),
    ):  # fmt: skip
        with open(config, "w", encoding="utf-8") as file:
            file.write(text)
        place.refuses(f"configuration {text!r}", word, "replay", place.logs, "--config", config)
        place.refuses(f"config check {text!r}", word, "config", "check", "--config", config)
    place.replay()
    for sql in ("DROP TABLE calls", "INSERT INTO calls VALUES (1)", "SELEC 1", "SELECT * FROM no_such", "COPY calls TO '/tmp/x'", "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "SELECT 1; SELECT 2"):
        place.refuses(f"query {sql}", "", "query", sql, "--lake", place.lake)
    place.refuses("no lake", "lake", "query", "SELECT 1 FROM calls", "--lake", os.path.join(place.root, "empty"))


@case
def lake_in_the_way(place: Place) -> None:
    """A lake that cannot be written: an error that names it, and no damage."""
    good, ids = lines(3)
    place.put("a.jsonl", b"\n".join(good) + b"\n")
    blocked = place.put("../blocked", b"a file")
    place.refuses("a file where the lake should be", "blocked", "replay", place.logs, "--lake", blocked)
    with open(blocked, "rb") as file:
        place.expect("the file", file.read(), b"a file")
    os.makedirs(os.path.join(place.lake, "_sluice"))
    if subprocess.run(["mount", "--bind", place.lake, place.lake], check=False, capture_output=True).returncode == 0:
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", place.lake], check=True)
            place.refuses("read-only lake", "lake", "replay", place.logs, "--lake", place.lake)
        finally:
            subprocess.run(["umount", place.lake], check=True)
    else:
        print("  no bind mounts here: the read-only lake is left out")
    place.replay()
    place.expect("calls", place.ids(), sorted(ids))


@case
def full_disk(place: Place) -> None:
    """A disk that fills: an error that says so; with room again the same command finishes, exactly."""
    good, ids = lines(30_000)
    place.put("a.jsonl", b"\n".join(good) + b"\n")
    os.makedirs(place.lake)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place.lake], check=False, capture_output=True).returncode == 0
    try:
        if mounted:
            place.refuses("full disk", "space", "replay", place.logs, "--lake", place.lake)
            subprocess.run(["mount", "-o", "remount,size=200m", place.lake], check=True)
        else:
            limit = lambda: (resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)), signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
            done = subprocess.run([place.sluice.binary, "replay", place.logs, "--lake", place.lake], preexec_fn=limit, capture_output=True, check=False)
            place.expect(f"files of bounded size: {done.stderr[-200:]!r}", done.returncode, 2)
        place.replay()
        place.expect("calls", (len(place.rows("calls")), place.ids()), (len(ids), sorted(ids)))
        cost = sum(pico(row["cost_usd"]) for row in place.rows("calls"))
        spend = sum(pico(row["cost_usd"]) for row in place.rows("spend_day"))
        place.expect("spend_day", spend, cost)
    finally:
        if mounted:
            subprocess.run(["umount", place.lake], check=True)


@case
def spoilt_state(place: Place) -> None:
    """Local state and shared store that are not theirs any more: carried on rightly, or an error that names the file."""
    good, ids = lines(50)
    place.put("a.jsonl", b"\n".join(good[:25]) + b"\n")
    place.replay()
    for name in ("local.redb", "shared.redb"):
        path = os.path.join(place.lake, "_sluice", name)
        with open(path, "rb") as file:
            sound = file.read()
        for kind, content in (("rubbish", b"rubbish" * 1000), ("emptied", b""), ("cut", sound[: len(sound) // 2]), ("zeros", bytes(len(sound)))):
            with open(path, "wb") as file:
                file.write(content)
            code, _, err = place.sluice.call("replay", place.logs, "--lake", place.lake)
            if code != 0 and (code != 2 or name not in err):
                place.faults.append(f"{name} {kind}: ended with {code}, said {err.strip()[-300:]!r}")
            print(f"  {name} {kind}: exit code {code}")
            place.expect(f"{name} {kind}: calls", place.ids(), sorted(ids[:25]))
            if name == "local.redb" and os.path.exists(path):
                os.remove(path)
            elif name == "shared.redb":
                with open(path, "wb") as file:
                    file.write(sound)
    place.put("b.jsonl", b"\n".join(good[25:]) + b"\n")
    place.replay()
    place.expect("calls in the end", place.ids(), sorted(ids))


@case
def spoilt_log(place: Place) -> None:
    """A lake whose log is damaged: never guessed at."""
    place.put("a.jsonl", line() + b"\n")
    place.replay()
    place.put("b.jsonl", line() + b"\n")
    place.replay()
    log = os.path.join(place.lake, "calls", "_delta_log")
    newest = os.path.join(log, max(name for name in os.listdir(log) if name.endswith(".json")))
    with open(newest, "r+b") as file:
        file.truncate(os.path.getsize(newest) // 2)
    place.put("c.jsonl", line() + b"\n")
    place.refuses("a cut log entry", "calls", "replay", place.logs, "--lake", place.lake)
    place.refuses("a cut log entry, asked", "calls", "query", "SELECT count(*) FROM calls", "--lake", place.lake)


@case
def two_writers(place: Place) -> None:
    """A daemon and a replay on one lake: one works, the other says why not; nothing is counted twice."""
    good, ids = lines(4000)
    place.put("a.jsonl", b"\n".join(good) + b"\n")
    config = os.path.join(place.root, "sluice.toml")
    listening = os.path.join(place.root, "s")
    write_config(config, place.lake, paths=[place.logs], window=False, socket_path=listening)
    daemon = place.sluice.start("run", "--config", config)
    try:
        wait_until("the daemon's socket", lambda: answers(listening) or daemon.poll() is not None)
        code, _, err = place.sluice.call("replay", place.logs, "--config", config)
        if code == 0 or not err.strip() or "panicked" in err:
            place.faults.append(f"a second writer ended with {code}, said {err.strip()[-300:]!r}")
        print(f"  second writer: exit code {code}: {err.strip()[-160:]}")
        wait_until("all calls", lambda: daemon.poll() is not None or place.sluice.json("query", "SELECT count(*) AS n FROM calls", "--config", config)[0]["n"] == len(ids))
        daemon.terminate()
        place.expect("the daemon's exit code", daemon.wait(60), 0)
    finally:
        daemon.kill()
        daemon.wait()
    place.expect("calls", place.ids(), sorted(ids))
    # Other state, same lake: only the lake's own fence tells them apart.
    elsewhere = os.path.join(place.root, "elsewhere.toml")
    with open(config, encoding="utf-8") as file, open(elsewhere, "w", encoding="utf-8") as other:
        text = file.read().replace("commit_interval", f"state = '{place.root}/other.redb'\nshared = '{place.root}/shared.redb'\ncommit_interval")
        other.write(text.replace(listening, listening + "2"))
    first = place.sluice.start("run", "--config", config)
    wait_until("the daemon's socket", lambda: answers(listening) or first.poll() is not None)
    more, new = lines(500)
    second = place.sluice.start("run", "--config", elsewhere)
    place.put("b.jsonl", b"\n".join(more) + b"\n")
    wait_until("one of two daemons to halt", lambda: first.poll() is not None or second.poll() is not None, seconds=40)
    # Refused at once, or fenced with its next commit.
    place.expect("the first one's exit code", first.poll(), None)
    place.expect("the second one's exit code", second.poll() in (2, 75), True)
    for process in (first, second):
        process.terminate()
        process.wait(60)
    place.replay()
    place.expect("calls after two daemons", place.ids(), sorted(ids + new))
