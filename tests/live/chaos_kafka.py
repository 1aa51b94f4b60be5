"""Kafka under chaos.py: a topic that one daemon reads, and one that workers read for a ledger."""

import collections
import os
import signal
import subprocess
import time

import oracle
from chaos_base import HERE, PATIENCE, Scenario, free_port
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from harness import Fault, kill, wait_until

SCRIPT = os.path.join(HERE, "servers", "kafka.sh")
# A dead member is given up after the session time-out; a live one answers within a heartbeat. One with a name is back before it is given up.
SESSION_MS, NAMED_MS = 1_500, 60_000


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
        return reading(self.broker.address, self.topic, "sluice", self.is_static)

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
        return super().story() + f"partitions {self.partitions}, broker restarts {self.restarts}, named {self.is_static}, "


class Relay(Kafka):
    """Workers that share a topic and publish for a ledger; a process of its own reads the topic directly and must agree."""

    name = "relay"
    relay = "sluice-relay"

    def prepare(self) -> None:
        self.workers, self.asleep, self.killed, self.slept = [None] * self.dice.choice((2, 3)), {}, 0, 0
        super().prepare()
        with open(self.work.at("worker.toml"), "w", encoding="utf-8") as file:
            file.write(f'[relay]\nbrokers = ["{self.broker.address}"]\ntopic = "{self.relay}"\n')
            file.write(reading(self.broker.address, self.topic, "workers"))

    def serve(self) -> None:
        super().serve()
        self.broker.create(self.relay, 3)

    def sources(self) -> str:
        return reading(self.broker.address, self.relay, "ledger", self.is_static)

    def happen(self) -> None:
        """Starts the workers that are missing."""
        for number, worker in enumerate(self.workers):
            if worker is None or worker.poll() is not None:
                self.workers[number] = self.sluice.start("run", "--role", "worker", "--config", self.work.at("worker.toml"))

    def one(self) -> None:
        """Keeps the ledger when it is a worker's turn."""
        if self.dice.random() < 0.5:
            return super().one()
        process = self.start()
        for _ in range(self.dice.randrange(1, 4)):
            begun, life = time.monotonic(), self.life()
            while time.monotonic() - begun < life:
                if self.records.waiting and self.dice.random() < 0.3:
                    quota = len(self.records.waiting) // max(self.args.kills - self.kills, 1)
                    self.produce(self.records.take(self.dice.randrange(1, max(min(60, quota), 2))))
                time.sleep(0.02)
            self.strike()
            self.happen()
        if not kill(process):
            raise Fault(f"the ledger ended by itself with {process.returncode}: {self.tail()}")
        self.kills += 1
        return None

    def strike(self) -> None:
        """Kills a worker, or has one sleep until the group has given it up, or wakes one: then it delivers what others did too."""
        self.look_after()
        number = self.dice.randrange(len(self.workers))
        worker = self.workers[number]
        if number in self.asleep:
            self.wake(number)
        elif self.dice.random() < 0.3:
            worker.send_signal(signal.SIGSTOP)
            self.asleep[number] = worker
            self.slept += 1
        else:
            kill(worker)
            self.killed += 1

    def wake(self, number: int) -> None:
        """Lets a worker go on."""
        self.asleep.pop(number).send_signal(signal.SIGCONT)

    def look_after(self) -> None:
        """Checks that no worker has ended by itself."""
        for worker in self.workers:
            if worker is not None and worker.poll() is not None:
                raise Fault(f"a worker ended by itself with {worker.returncode}: {self.tail()}")

    def harm(self) -> None:
        """Takes the ledger's local state away; the broker stays."""
        Scenario.harm(self)

    def finish(self) -> None:
        for number in list(self.asleep):
            self.wake(number)
        self.happen()
        super().finish()
        self.look_after()
        for worker in self.workers:
            self.stop(worker)

    def are_sane(self, shards: list[dict]) -> bool:
        return Scenario.are_sane(self, shards) and len(shards) == 3

    def check(self, report: oracle.Report) -> None:
        lake, config, socket = self.work.at("direct"), self.work.at("direct.toml"), self.work.at("d")
        self.write_config(config, lake, socket, reading(self.broker.address, self.topic, "direct"))
        self.daemon = self.sluice.start("run", "--config", config)
        wait_until("the direct lake", lambda: self.is_complete(lake) or self.daemon.poll() is not None, PATIENCE, 0.2)
        self.stop(self.daemon)
        for what, of in (("agents", agents), ("rejected rows", rejected)):
            direct, relayed = of(lake), of(self.lake)
            both = direct.keys() | relayed.keys()
            wrong = [f"{key}: {relayed.get(key)}, directly {direct.get(key)}" for key in both if direct.get(key) != relayed.get(key)]
            report.check(f"relayed {what}", wrong)

    def processes(self) -> list[subprocess.Popen]:
        return super().processes() + [worker for worker in self.workers if worker and worker.poll() is None]

    def story(self) -> str:
        return super().story() + f"workers {len(self.workers)}, killed {self.killed}, stopped and woken {self.slept}, "


def agents(lake: str) -> dict:
    """Returns calls and pico-dollars of each agent."""
    sums = {}
    for row in oracle.Table(lake, "calls").rows():
        oracle.add(sums, row["agent_id"], [1, oracle.pico(row["cost_usd"])])
    return sums


def rejected(lake: str) -> dict:
    """Returns how often each rejected record is there, with its place and its reason."""
    columns = ("source", "offset", "sequence", "reason", "detail", "sha256")
    return collections.Counter(tuple(row[column] for column in columns) for row in oracle.Table(lake, "rejected").rows())


def reading(address: str, topic: str, group: str, is_static: bool = False) -> str:
    """Returns the section of a topic that is read, by a member with a name or without."""
    session = NAMED_MS if is_static else SESSION_MS
    waits = f'"session.timeout.ms" = "{session}", "heartbeat.interval.ms" = "300", "topic.metadata.refresh.interval.ms" = "1000"'
    instance = 'group_instance_id = "ledger"\n' if is_static else ""
    return (
        f'[[source]]\nkind = "kafka"\nbrokers = ["{address}"]\ntopics = ["{topic}"]\ngroup = "{group}"\nrevoke_wait = "3s"\n'
        f"properties = {{ {waits} }}\n{instance}"
    )
