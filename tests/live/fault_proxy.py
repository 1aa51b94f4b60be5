"""An HTTP proxy on loopback between the program and an emulator of AWS: it does what networks and services do.

It refuses and throttles, breaks off before or after a request was carried out, lets a client wait for an answer that never comes, and
answers in S3's own words where a conditional write meets another: a write that was carried out and seems lost is found by its own retry
(412), and one that was not is refused for a moment (409). One request after the other, as they come, by a seed.
"""

import collections
import http.client
import random
import socketserver
import threading
import time

# Of a thousand requests.
FAULTS = 40
# Seconds that a client waits for an answer that never comes.
STALL = 2
HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "expect", "transfer-encoding")


class Request:
    """A request as it came in."""

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        names = {name.lower(): value for name, value in headers}
        target = names.get("x-amz-target", "")
        self.service = "dynamodb" if target.startswith("DynamoDB") else "sqs" if target.startswith("AmazonSQS") else "s3"
        self.is_conditional = "if-none-match" in names
        self.is_root_commit = self.is_conditional and "/calls/_delta_log/" in path


def refusal(service: str, status: int, code: str) -> bytes:
    """Returns a whole answer that says no, in the form of the service."""
    if service == "s3":
        kind, body = "application/xml", f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
    else:
        kind, body = "application/x-amz-json-1.0", f'{{"__type":"com.amazonaws.{service}#{code}","message":"injected"}}'
    head = f"HTTP/1.1 {status} Fault\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nx-amzn-errortype: {code}\r\nconnection: close\r\n\r\n"
    return (head + body).encode()


THROTTLED = {"s3": (503, "SlowDown"), "dynamodb": (400, "ProvisionedThroughputExceededException"), "sqs": (400, "RequestThrottled")}


class FaultProxy:
    """A running proxy."""

    def __init__(self, upstream: str, seed: str):
        self.upstream, self.dice = upstream.removeprefix("http://"), random.Random(seed)
        self.lock, self.counts = threading.Lock(), collections.Counter()
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    proxy.serve(self.rfile, self.wfile)
                except OSError:
                    # Whoever asked is dead.
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = allow_reuse_address = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        self.server.shutdown()
        self.server.server_close()

    def decide(self, request: Request) -> str:
        """Says what happens to a request."""
        with self.lock:
            fault = "pass"
            # Commits are few among the requests, and what happens to them matters most.
            if self.dice.random() * 1000 < FAULTS * (4 if request.is_root_commit else 1):
                kinds = ["throttled", "500 instead", "500 after", "lost", "answer lost", "stalled"]
                if request.is_conditional:
                    kinds += ["409 instead", "409 after", "answer lost"]
                fault = self.dice.choice(kinds)
                self.counts[fault] += 1
                if request.is_root_commit:
                    self.counts["on commits"] += 1
            return fault

    def serve(self, reader, writer) -> None:
        """Takes one request from a connection."""
        request = read(reader, writer)
        if request is None:
            return
        fault = self.decide(request)
        if fault in ("throttled", "500 instead", "409 instead", "lost"):
            answer = b""
        else:
            answer = self.forward(request)
        if fault == "throttled":
            answer = refusal(request.service, *THROTTLED[request.service])
        elif fault.startswith("500"):
            answer = refusal(request.service, 500, "InternalError" if request.service == "s3" else "InternalServerError")
        elif fault.startswith("409"):
            answer = refusal(request.service, 409, "ConditionalRequestConflict")
        elif fault == "stalled":
            time.sleep(STALL)
        if fault not in ("lost", "answer lost", "stalled"):
            if b" 412 " in answer[:20]:
                with self.lock:
                    self.counts["412 met"] += 1
            writer.write(answer)

    def forward(self, request: Request) -> bytes:
        """Sends a request on and returns the whole answer."""
        server = http.client.HTTPConnection(self.upstream, timeout=120)
        server.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            if name.lower() not in HOP_BY_HOP:
                server.putheader(name, value)
        server.putheader("connection", "close")
        server.endheaders(request.body)
        answer = server.getresponse()
        body = answer.read()
        head = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        head += [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in (*HOP_BY_HOP, "content-length")]
        # What a HEAD tells of a body that is not sent.
        length = answer.getheader("content-length", "0") if request.method == "HEAD" else str(len(body))
        server.close()
        return "\r\n".join([*head, f"content-length: {length}", "connection: close", "", ""]).encode("latin-1") + body

    def story(self) -> str:
        """Returns how often each fault happened."""
        return ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))


def read(reader, writer) -> Request | None:
    """Reads a request with a length; `None` if the client hung up before."""
    line = reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers = []
    while (line := reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    names = {name.lower(): value for name, value in headers}
    if "expect" in names:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = int(names.get("content-length", "0"))
    body = reader.read(length) if length else b""
    return Request(method, path, headers, body) if len(body) == length else None
