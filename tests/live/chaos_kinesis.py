"""Kinesis under chaos.py: a stream whose shards split and merge while the daemon is killed. Runs beside the emulator's script."""

import os
import subprocess
import sys
import time

import boto3
from botocore.config import Config
from chaos_base import HERE, PATIENCE, Scenario
from harness import Fault, wait_until

ENDPOINT = "SLUICE_KINESIS_ENDPOINT"
# Hash keys are of 128 bits; a shard narrower than this is not split further.
NARROW = 1 << 120
MOST_SHARDS = 6


def beside_emulator(arguments: list[str]) -> int:
    """Runs this scenario again where the emulator is, in a network of its own."""
    script = os.path.join(HERE, "servers", "kinesis_local.sh")
    # Closed shards count too: they are kept as long as their records.
    environment = {**os.environ, "SHARD_LIMIT": "1000"}
    return subprocess.run([script, sys.executable, os.path.join(HERE, "chaos.py"), *arguments], env=environment, check=False).returncode


class Kinesis(Scenario):
    """One daemon, a stream of two shards to begin with."""

    name = "kinesis"
    stream = "bedrock-logs"

    def prepare(self) -> None:
        self.splits = self.merges = self.updates = 0
        # A call that is repeated by itself would put bad records twice.
        once = Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE)
        self.client = boto3.client("kinesis", endpoint_url=os.environ[ENDPOINT], region_name="eu-central-1", config=once)
        super().prepare()

    def serve(self) -> None:
        self.client.create_stream(StreamName=self.stream, ShardCount=2)
        self.settle()

    def settle(self) -> None:
        """Waits until the stream is no longer being changed."""
        wait_until("the stream", self.is_active, PATIENCE, 0.05)

    def is_active(self) -> bool:
        """Tells whether the stream is not being changed."""
        return self.client.describe_stream_summary(StreamName=self.stream)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"

    def sources(self) -> str:
        return f'[[source]]\nkind = "kinesis"\nstreams = ["{self.stream}"]\nregion = "eu-central-1"\nendpoint = "{os.environ[ENDPOINT]}"\n'

    def produce(self, records: list[bytes]) -> None:
        for at in range(0, len(records), 100):
            entries = [{"Data": record, "PartitionKey": str(self.dice.random())} for record in records[at : at + 100]]
            answer = self.client.put_records(StreamName=self.stream, Records=entries)
            if answer["FailedRecordCount"]:
                raise Fault(f"the emulator refused records: {answer['Records'][:2]}")

    def open_shards(self) -> list[tuple[int, int, str]]:
        """Returns the shards that take records, by hash key."""
        shards, token = [], {"StreamName": self.stream}
        while token:
            answer = self.client.list_shards(**token)
            shards += answer["Shards"]
            token = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else None
        taking = [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]
        ranges = [(shard["HashKeyRange"], shard["ShardId"]) for shard in taking]
        return sorted((int(keys["StartingHashKey"]), int(keys["EndingHashKey"]), name) for keys, name in ranges)

    def happen(self) -> None:
        """Splits a shard, merges two, or asks for another number of them."""
        shards = self.open_shards()
        kind = self.dice.random()
        first, last, name = self.dice.choice(shards)
        if kind < 0.35 and len(shards) < MOST_SHARDS and last - first > NARROW:
            middle = self.dice.randrange(first + (last - first) // 4, last - (last - first) // 4)
            self.client.split_shard(StreamName=self.stream, ShardToSplit=name, NewStartingHashKey=str(middle))
            self.splits += 1
        elif kind < 0.6 and len(shards) > 1:
            at = self.dice.randrange(len(shards) - 1)
            self.client.merge_shards(StreamName=self.stream, ShardToMerge=shards[at][2], AdjacentShardToMerge=shards[at + 1][2])
            self.merges += 1
        elif kind < 0.75:
            # The service takes half to double the number.
            counts = range(-(-len(shards) // 2), min(2 * len(shards), MOST_SHARDS) + 1)
            count = self.dice.choice([count for count in counts if count != len(shards)] or [2])
            self.client.update_shard_count(StreamName=self.stream, TargetShardCount=count, ScalingType="UNIFORM_SCALING")
            self.updates += 1
        self.settle()

    def one(self) -> None:
        """Half of the changes are made while the daemon reads."""
        if self.dice.random() < 0.5:
            process = self.start()
            time.sleep(self.dice.uniform(0.2, 1.5))
            self.produce(self.records.take(30))
            self.happen()
            self.produce(self.records.take(30))
            if process.poll() is not None:
                raise Fault(f"the daemon ended by itself with {process.returncode}: {self.tail()}")
            process.kill()
            process.wait()
            self.kills += 1
        else:
            super().one()

    def are_sane(self, shards: list[dict]) -> bool:
        return super().are_sane(shards) and all(shard["state"] in ("reading", "ended") for shard in shards)

    def story(self) -> str:
        return super().story() + f"splits {self.splits}, merges {self.merges}, shard counts {self.updates}, "
