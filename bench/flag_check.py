"""How long `sluice flag check` takes, as a whole process, beside a running daemon: flag_check.py --bin SLUICE [--times N]."""

import argparse
import pathlib
import subprocess
import tempfile
import time


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
                took = []
                for _ in range(args.times):
                    begun = time.perf_counter()
                    done = subprocess.run([args.bin, "flag", "check", "--agent", agent, "--lake", lake], stdout=subprocess.DEVNULL, check=False)
                    took.append((time.perf_counter() - begun) * 1000)
                    assert done.returncode == code, done
                took.sort()
                at = lambda percent: took[min(len(took) - 1, len(took) * percent // 100)]
                print(f"{agent}: p50 {at(50):.1f} ms, p99 {at(99):.1f} ms, longest {took[-1]:.1f} ms of {len(took)} checks")
        finally:
            daemon.terminate()
            daemon.wait()


main()
