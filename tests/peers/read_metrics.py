"""The page of metrics and the OTLP posts of a daemon, read by the reference parsers of both formats.

The page goes through the OpenMetrics parser of the Prometheus project, the posts through the protocol's own definitions; both must tell the
same of every counter.
"""

import argparse
import http.client
import http.server
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from prometheus_client.openmetrics.parser import text_string_to_metric_families

CALLS = 500


class Receiver(http.server.BaseHTTPRequestHandler):
    posts = []

    def do_POST(self):
        self.posts.append((self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def wait(what, done):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = done()
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"waited in vain for {what}")


def page(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def of_page(text):
    """Counters by name and labels, and every family's type."""
    counters, kinds = {}, {}
    for family in text_string_to_metric_families(text):
        kinds[family.name] = family.type
        for sample in family.samples:
            if family.type == "counter" and sample.name.endswith("_total"):
                counters[(family.name, tuple(sorted(sample.labels.items())))] = sample.value
    return counters, kinds


def of_post(body):
    request = ExportMetricsServiceRequest()
    json_format.Parse(body, request)
    counters, kinds = {}, {}
    (resource,) = request.resource_metrics
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert names["service.name"] == "sluice" and names["service.instance.id"] == "peer", names
    for metric in resource.scope_metrics[0].metrics:
        kind = metric.WhichOneof("data")
        kinds[metric.name] = kind
        for point in getattr(metric, kind).data_points:
            assert point.time_unix_nano >= point.start_time_unix_nano > 0, metric.name
            if kind == "histogram":
                assert len(point.bucket_counts) == len(point.explicit_bounds) + 1, metric.name
                assert sum(point.bucket_counts) == point.count, metric.name
            elif kind == "sum":
                assert metric.sum.is_monotonic and metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
                labels = tuple(sorted((label.key, label.value.string_value) for label in point.attributes))
                counters[(metric.name, labels)] = point.as_double or float(point.as_int)
    return counters, kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sluice-metrics-"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "logs").mkdir()
    (folder / "sluice.toml").write_text(
        f'[lake]\npath = "lake"\ncommit_interval = "1s"\n[files]\npaths = ["logs"]\n[control]\nsocket = "control.sock"\n'
        f'[[budget]]\nname = "a \\"quoted\\" one"\neach = ["agent_id"]\nlimit = "1 USD"\nwindow = "lifetime"\n'
        f'[[budget.threshold]]\nat = "100%"\ndo = ["notify"]\n'
        f'[operate]\nlisten = "127.0.0.1:0"\ninstance = "peer"\nexport_interval = "1s"\n'
        f'otlp = "http://127.0.0.1:{server.server_port}/v1/metrics"\n'
    )
    made = [args.bin, "simulate", folder / "made", "--calls", str(CALLS), "--files", "1", "--shape", "meta"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    log = open(folder / "log", "w+")
    command = [args.bin, "--log-format", "json", "run", "--config", folder / "sluice.toml"]
    daemon = subprocess.Popen(command, stderr=log)
    try:
        events = lambda: [json.loads(line) for line in (folder / "log").read_text().splitlines()]
        listening = wait("the listener", lambda: [line for line in events() if line.get("event") == "http_listening"])
        port = int(listening[0]["address"].rsplit(":", 1)[1])
        wait("the start", lambda: [line for line in events() if line.get("event") == "running"])
        shutil.move(next((folder / "made").iterdir()), folder / "logs")
        call = ("sluice_records", (("outcome", "call"),))
        wait("the calls", lambda: of_page(page(port))[0].get(call) == CALLS)
        wait("a lake commit", lambda: 'sluice_lake_epoch 1' in page(port))
        # Counters near their limits are ranked every few seconds.
        wait("the ranking", lambda: 'sluice_budget_used_ratio{' in page(port))
        time.sleep(3)
        text = page(port)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    finally:
        daemon.kill()
        server.shutdown()
    shown, shown_kinds = of_page(text)
    path, headers, body = Receiver.posts[-1]
    sent, sent_kinds = of_post(body)
    assert path == "/v1/metrics" and headers["Content-Type"] == "application/json", (path, headers)
    same = {"counter": "sum", "gauge": "gauge", "histogram": "histogram", "info": "gauge"}
    assert {name: same[kind] for name, kind in shown_kinds.items()}.items() <= sent_kinds.items(), (shown_kinds, sent_kinds)
    for key, value in shown.items():
        # CPU time goes on between the two.
        assert key[0].startswith("process_") or sent[key] == value, (key, value, sent[key])
    assert shown[call] == CALLS and any("budget_used" in name for name in shown_kinds), shown_kinds
    shutil.rmtree(folder)
    print(f"metrics: {len(shown_kinds)} families on the page, {len(sent_kinds)} in the last of {len(Receiver.posts)} posts, counters agree")


if __name__ == "__main__":
    main()
