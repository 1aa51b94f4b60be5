"""How long `sluice flag check` takes beside a running daemon: flag_check.py --bin SLUICE [--times N].

As a whole process, beside one that only starts (`--version`), and as one question over the daemon's socket.
"""

import argparse
import json
import pathlib
import socket as sockets
import subprocess
import tempfile
import time


def show(name, took):
    took.sort()
    at = lambda percent: took[min(len(took) - 1, len(took) * percent // 100)]
    print(f"{name}: p50 {at(50):.2f} ms, p99 {at(99):.2f} ms, longest {took[-1]:.2f} ms of {len(took)}")


def timed(times, once):
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        once()
        took.append((time.perf_counter() - begun) * 1000)
    return took


def question(place):
    with sockets.socket(sockets.AF_UNIX) as connection:
        connection.connect(str(place))
        connection.sendall(b'{"verb":"holds"}\n')
        answer = json.loads(connection.makefile().readline())
    assert any(hold["target"] == "agent_id=held" for hold in answer["ok"]), answer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--times", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = pathlib.Path(folder) / "lake"
        logs = pathlib.Path(folder) / "logs"
        logs.mkdir()
        (logs / "empty.jsonl").touch()
        daemon = subprocess.Popen([args.bin, "run", logs, "--lake", lake], stderr=subprocess.DEVNULL)
        try:
            socket = lake / "_sluice" / "control.sock"
            deadline = time.monotonic() + 30
            while not socket.exists():
                assert time.monotonic() < deadline, "the daemon did not start"
                time.sleep(0.05)
            subprocess.run([args.bin, "pause", "held", "--reason", "bench", "--lake", lake], check=True, stdout=subprocess.DEVNULL)
            for agent, code in [("free", 0), ("held", 3)]:
                command = [args.bin, "flag", "check", "--agent", agent, "--lake", lake]

                def check(command=command, code=code):
                    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == code

                show(f"flag check, {agent}", timed(args.times, check))
            start = lambda: subprocess.run([args.bin, "--version"], stdout=subprocess.DEVNULL, check=True)
            show("a process that only starts", timed(args.times, start))
            show("one question over the socket", timed(args.times * 10, lambda: question(socket)))
        finally:
            daemon.terminate()
            daemon.wait()


main()
