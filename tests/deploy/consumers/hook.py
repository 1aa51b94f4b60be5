"""A webhook on this machine that keeps what it is sent, and fails when told to."""

import dataclasses
import http.server
import json
import threading


@dataclasses.dataclass
class Call:
    key: str | None
    body: dict
    status: int


class Hook:
    def __init__(self):
        self.calls, self.failures, self.lock = [], 0, threading.Lock()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with hook.lock:
                    status = 500 if hook.failures else 200
                    hook.failures = max(0, hook.failures - 1)
                    hook.calls.append(Call(self.headers.get("Idempotency-Key"), body, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def fail(self, times: int) -> None:
        with self.lock:
            self.failures = times

    def take(self) -> list[Call]:
        with self.lock:
            found, self.calls = self.calls, []
        return found
