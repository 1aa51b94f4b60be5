#!/usr/bin/env python3
"""Kills the program while real services feed it, and asks an oracle what became of the money.

    chaos.py --bin target/quick/sluice [--kills 10] [--seed N] [--only kafka,relay,s3,takeover,kinesis] [--workdir DIR]

kafka     one daemon, a topic that grows from 4 partitions to 6, a broker that is restarted
relay     workers share a topic and publish for a ledger, all are killed; a process of its own reads the topic directly and must agree
s3        objects and notifications in any order, some objects gone; lake in S3, shared store in DynamoDB; the network fails in every way
takeover  a second ledger takes over while the first is stopped; the first must notice when it wakes, and end with exit code 75
kinesis   shards split and merge

The program is built with the features aws and kafka. The environment is made by tests/peers/venv.sh DIR deltalake pyarrow boto3
confluent-kafka; the servers install themselves (tests/live/servers). Records are lines and compressed CloudWatch envelopes; they
come shuffled, some again, some damaged. `--kills` is for each scenario. Exit code 1 on any fault; the folder is then kept.
"""

import argparse
import os
import random
import shutil
import sys

import chaos_base  # noqa: F401  (finds the harness)
import chaos_aws
import chaos_kafka
import chaos_kinesis

ALL = (chaos_kafka.Kafka, chaos_kafka.Relay, chaos_aws.S3, chaos_aws.Takeover, chaos_kinesis.Kinesis)
SCENARIOS = {scenario.name: scenario for scenario in ALL}


def run(name: str, args: argparse.Namespace) -> int:
    """Runs one scenario, where it can run."""
    if name == chaos_kinesis.Kinesis.name and chaos_kinesis.ENDPOINT not in os.environ:
        options = ["--bin", args.bin, "--kills", str(args.kills), "--seed", str(args.seed), "--only", name]
        return chaos_kinesis.beside_emulator(options + (["--workdir", args.workdir] if args.workdir else []))
    return SCENARIOS[name](args).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", help="scenarios, separated by commas")
    parser.add_argument("--workdir", help="an empty or new folder, kept (default: temporary ones, kept after a fault)")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1, 1_000_000)
    names = args.only.split(",") if args.only else list(SCENARIOS)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown scenario {unknown[0]}: one of {', '.join(SCENARIOS)}")
    if shutil.disk_usage("/tmp").free < 2 << 30:
        raise SystemExit("less than 2 GiB free in /tmp")
    return max([run(name, args) for name in names])


if __name__ == "__main__":
    sys.exit(main())
