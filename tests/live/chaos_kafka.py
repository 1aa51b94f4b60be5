"""Kafka under chaos.py: a topic that one daemon reads, and one that workers read for a ledger."""

import os
import subprocess
import time

from chaos_base import HERE, PATIENCE, Scenario, free_port
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from harness import Fault, kill, wait_until

SCRIPT = os.path.join(HERE, "servers", "kafka.sh")
# A dead member is given up after this; a live one answers within a heartbeat.
PROPERTIES = '{ "session.timeout.ms" = "1500", "heartbeat.interval.ms" = "300", "topic.metadata.refresh.interval.ms" = "1000" }'


class Broker:
    """A broker of this test's own and a client of it."""

    def __init__(self, folder: str):
        self.folder, self.port = folder, free_port(4)
        self.address = f"127.0.0.1:{self.port}"
        self.failed, self.producer = [], None
        self.start()

    def start(self) -> None:
        """Starts it, with the data it has."""
        command = [SCRIPT, "start", self.folder, str(self.port), str(os.getpid())]
        done = subprocess.run(command, capture_output=True, timeout=180, check=False)
        if done.returncode != 0:
            raise Fault(f"no Kafka broker: {done.stderr.decode('utf-8', 'replace')[-1000:]}")

    def pid(self) -> int:
        """Returns its process."""
        with open(os.path.join(self.folder, "pid"), encoding="ascii") as file:
            return int(file.read())

    def stop(self, number: int) -> None:
        """Ends it with a signal."""
        os.kill(self.pid(), number)
        wait_until("the broker's end", self.is_gone, PATIENCE, 0.1)

    def is_gone(self) -> bool:
        """Tells whether its process has ended."""
        try:
            with open(f"/proc/{self.pid()}/stat", encoding="ascii") as file:
                return file.read().split()[2] == "Z"
        except FileNotFoundError:
            return True

    def create(self, topic: str, partitions: int) -> None:
        """Makes a topic."""
        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            future.result(60)

    def grow(self, topic: str, partitions: int) -> None:
        """Gives a topic more partitions."""
        self.flush()
        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.create_partitions([NewPartitions(topic, partitions)]).values():
            future.result(60)
        # One that knows of the new ones.
        self.producer = None

    def put(self, topic: str, partition: int, record: bytes) -> None:
        """Produces a record, exactly once."""
        if not self.producer:
            settings = {"enable.idempotence": True, "message.timeout.ms": 120_000, "linger.ms": 1, "log_level": 0}
            self.producer = Producer({"bootstrap.servers": self.address, **settings})
        self.producer.produce(topic, record, partition=partition, on_delivery=self.delivered)
        self.producer.poll(0)

    def delivered(self, error, _message) -> None:
        """Notes what did not arrive."""
        if error:
            self.failed.append(str(error))

    def flush(self) -> None:
        """Waits until everything that was produced is there."""
        if self.producer and self.producer.flush(PATIENCE):
            raise Fault("the broker does not take records")
        if self.failed:
            raise Fault(f"the broker lost records: {self.failed[:3]}")


class Kafka(Scenario):
    """One daemon and a topic that grows, on a broker that is restarted."""

    name = "kafka"
    topic = "bedrock-logs"

    def serve(self) -> None:
        self.broker.create(self.topic, self.partitions)

    def prepare(self) -> None:
        self.broker, self.partitions, self.restarts = Broker(self.work.at("broker")), 4, 0
        self.is_static = self.dice.random() < 0.5
        super().prepare()

    def sources(self) -> str:
        instance = 'group_instance_id = "ledger"\n' if self.is_static else ""
        return reading(self.broker.address, self.topic, "sluice") + instance

    def produce(self, records: list[bytes]) -> None:
        for record in records:
            self.broker.put(self.topic, self.dice.randrange(self.partitions), record)

    def happen(self) -> None:
        if self.partitions == 4 and self.kills >= self.args.kills // 3:
            self.broker.grow(self.topic, 6)
            self.partitions = 6

    def harm(self) -> None:
        super().harm()
        if not self.restarts and self.kills >= self.args.kills // 2:
            # The daemon lives through it, and so do the records on their way.
            self.restarts = 1
            process = self.start()
            self.ready(process)
            self.produce(self.records.take(100))
            self.broker.stop(self.dice.choice((9, 15)))
            self.produce(self.records.take(100))
            time.sleep(self.dice.uniform(0.2, 2))
            self.broker.start()
            self.broker.flush()
            if not kill(process):
                raise Fault(f"the daemon did not outlive the broker: it ended with {process.returncode}: {self.tail()}")
            self.kills += 1

    def finish(self) -> None:
        self.broker.flush()
        super().finish()

    def are_sane(self, shards: list[dict]) -> bool:
        return super().are_sane(shards) and len(shards) == self.partitions

    def end(self) -> None:
        if hasattr(self, "broker") and not self.broker.is_gone():
            self.broker.stop(15)

    def story(self) -> str:
        return super().story() + f"partitions {self.partitions}, broker restarts {self.restarts}, "


def reading(address: str, topic: str, group: str) -> str:
    """Returns the section of a topic that is read."""
    return (
        f'[[source]]\nkind = "kafka"\nbrokers = ["{address}"]\ntopics = ["{topic}"]\ngroup = "{group}"\nrevoke_wait = "3s"\n'
        f"properties = {PROPERTIES}\n"
    )
