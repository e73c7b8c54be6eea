"""Real servers on loopback, started and stopped by their process ids, and a proxy that makes faults."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = "/v1/chat/completions"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A server process of its own group; `kill` is SIGKILL for all of it."""

    def __init__(self, command, port, log, seconds, **env):
        self.command, self.port, self.log, self.seconds, self.env = command, port, log, seconds, env
        self.url = f"http://127.0.0.1:{port}/v1"
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env=os.environ | self.env,
                start_new_session=True,
            )
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).close()
                return self
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"no server: {self.log.read_text(errors='replace')[-2000:]}")

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Proxy:
    """Passes requests on to a server; `fault` may answer one in its place.

    `fault(number, path, body)` gives None, or a status, headers and the body's bytes; or `"drop"`, which
    closes the connection. `seen` has the time, path and body of every request.
    """

    def __init__(self, target):
        self.target, self.fault, self.seen = target, lambda *_: None, []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with proxy._lock:
                    proxy.seen.append((time.monotonic(), self.path, body))
                    number = len(proxy.seen)
                fault = proxy.fault(number, self.path, json.loads(body) if body else {})
                if fault == "drop":
                    self.close_connection = True
                    return
                self._send(*(fault or proxy._passed_on(self, body)))

            do_GET = do_POST  # noqa: N815

            def _send(self, status, headers, data):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def _passed_on(self, handler, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=300)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            kind = answer.headers.get("Content-Type", "application/json")
            return answer.status, {"Content-Type": kind}, answer.read()
        finally:
            connection.close()

    def asked(self):
        """How many chat completions were asked for."""
        return sum(path == ANSWERS for _, path, _ in self.seen)

    def close(self):
        self._http.shutdown()
        self._http.server_close()


QUESTIONS = {
    "a": "Name a fruit.",
    "b": "Say hello to my grandmother.",
    "c": "What is the capital of Spain?",
    "d": "Why is the sky blue?",
    "e": "Give me a word that rhymes with cat.",
    "f": "How many legs does a spider have?",
}
