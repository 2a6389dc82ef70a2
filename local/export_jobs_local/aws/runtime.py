"""Lambda on one laptop: runs functions in processes, under AWS's runtime interface client.

Each execution environment is one process and one Runtime API, which passes it invocations:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from export_jobs_local.aws.lineage import Lineage
from export_jobs_local.aws.stack import DeployedFunction

_API = "/2018-06-01/runtime"
_GRACE_S = 3.0


@dataclass(frozen=True)
class Invocation:
    """The result of an invocation: `answer`, or `error` with type and message."""

    answer: Any = None
    error: Mapping[str, Any] | None = None


@dataclass
class _Pending:
    id: str
    payload: bytes
    deadline_ms: int
    lineage: Lineage
    done: queue.SimpleQueue[Invocation]


class ExecutionEnvironment:
    """One process of a function; it serves one invocation at a time."""

    def __init__(
        self,
        function: DeployedFunction,
        *,
        layers: Sequence[Path],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """`environment` is what Lambda adds: credentials, region, endpoint."""
        self._function = function
        self._api = _RuntimeApi(function.arn)
        threading.Thread(
            target=self._api.serve_forever, args=(0.05,), name=function.name, daemon=True
        ).start()
        with log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: S603  our own functions
                [sys.executable, "-m", "awslambdaric", function.handler],
                cwd=function.folder,
                env=self._environment(layers, environment),
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the parent, which stops them in order
                stdout=sink,
                stderr=sink,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def invoke(self, payload: Any, lineage: Lineage) -> Invocation:
        """Runs until the function ends; on a timeout the process is killed, as on Lambda."""
        done: queue.SimpleQueue[Invocation] = queue.SimpleQueue()
        limit_s = self._function.timeout_s
        deadline = time.time() + limit_s
        self._api.submit(
            _Pending(
                id=str(uuid.uuid4()),
                payload=json.dumps(payload).encode(),
                deadline_ms=int(deadline * 1000),
                lineage=lineage.invoking(self._function.arn),
                done=done,
            )
        )
        while time.time() < deadline:
            with suppress(queue.Empty):
                return done.get(timeout=0.05)
            if not self.alive:
                with suppress(queue.Empty):
                    return done.get_nowait()
                return Invocation(
                    error=self._api.init_error or _error("Runtime.ExitError", "exited")
                )
        self.close()
        return Invocation(error=_error("Sandbox.Timedout", f"timed out after {limit_s} s"))

    def close(self) -> None:
        self._api.end()
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=_GRACE_S)
        self._api.shutdown()
        self._api.server_close()

    def _environment(
        self, layers: Sequence[Path], environment: Mapping[str, str]
    ) -> dict[str, str]:
        """The template's variables and Lambda's own; of this machine's, only the PATH.

        There is no home directory: boto3 would read `.aws` in it, and without the variable in the
        user's own.
        """
        name = self._function.name
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.devnull,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            **environment,
            **self._function.environment,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._function.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_TASK_ROOT": str(self._function.folder),
            "_HANDLER": self._function.handler,
            "PYTHONPATH": os.pathsep.join(str(layer) for layer in layers),
            "PYTHONUNBUFFERED": "1",
        }


class _RuntimeApi(ThreadingHTTPServer):
    """One environment's Runtime API: passes on invocations in turn, and receives the results."""

    daemon_threads = True

    def __init__(self, function_arn: str) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiHandler)
        self.init_error: Mapping[str, Any] | None = None
        self._function_arn = function_arn
        self._inbox: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._current: _Pending | None = None

    def submit(self, pending: _Pending) -> None:
        self._inbox.put(pending)

    def end(self) -> None:
        """Ends the wait for the next invocation: there are no more."""
        self._inbox.put(None)

    def next(self) -> _Pending | None:
        """Waits for the next invocation; None if there are no more."""
        self._current = self._inbox.get()
        return self._current

    def finish(self, invocation: Invocation) -> None:
        """Reports the result of the current invocation."""
        if self._current:
            self._current.done.put(invocation)
            self._current = None

    def headers_of(self, pending: _Pending) -> dict[str, str]:
        """The headers of an invocation for the runtime."""
        return {
            "Lambda-Runtime-Aws-Request-Id": pending.id,
            "Lambda-Runtime-Deadline-Ms": str(pending.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self._function_arn,
            "Lambda-Runtime-Trace-Id": self._trace_id(pending.lineage),
            "Content-Type": "application/json",
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs nothing: a process that ends leaves a broken connection."""

    def _trace_id(self, lineage: Lineage) -> str:
        """A new trace for each invocation, as on Lambda for a queue; the lineage continues."""
        root = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
        return f"Root={root};Parent={secrets.token_hex(8)};Sampled=0;Lineage={lineage}"


class _RuntimeApiHandler(BaseHTTPRequestHandler):
    """The Runtime API's calls: the next invocation, a result, an error."""

    protocol_version = "HTTP/1.1"
    server: _RuntimeApi

    def do_GET(self) -> None:
        pending = self.server.next() if self.path.endswith("/next") else None
        if pending is None:
            self._answer(410, {})
        else:
            self._answer(200, self.server.headers_of(pending), pending.payload)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        report = json.loads(body or b"null")
        if self.path == f"{_API}/init/error":
            self.server.init_error = report
        elif self.path.endswith("/error"):
            self.server.finish(Invocation(error=report))
        else:
            self.server.finish(Invocation(answer=report))
        self._answer(202, {}, b"{}")

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        with suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Logs nothing."""


class FunctionPool:
    """A function and its environments: started when invocations need them, and kept warm."""

    def __init__(
        self,
        function: DeployedFunction,
        *,
        layers: Sequence[Path],
        environment: Mapping[str, str],
        logs: Path,
    ) -> None:
        self.function = function
        self.log = logs / f"{function.folder.name}.log"
        self._layers = layers
        self._environment = environment
        self._lock = threading.Lock()
        self._idle: list[ExecutionEnvironment] = []
        self._all: list[ExecutionEnvironment] = []
        self._closed = False

    def invoke(self, payload: Any, lineage: Lineage | None = None) -> Invocation:
        """`lineage` is that of the invocation's chain; without one, it starts a chain."""
        environment = self._take()
        if environment is None:
            return Invocation(error=_error("Local.Stopped", "the local system is stopping"))
        invocation = environment.invoke(payload, lineage or Lineage())
        with self._lock:
            if environment.alive:
                self._idle.append(environment)
            else:
                self._all.remove(environment)
                environment.close()
        return invocation

    def close(self) -> None:
        with self._lock:
            self._closed = True
            environments = list(self._all)
        for environment in environments:
            environment.close()

    def _take(self) -> ExecutionEnvironment | None:
        with self._lock:
            if self._closed:
                return None
            if self._idle:
                return self._idle.pop()
            environment = ExecutionEnvironment(
                self.function,
                layers=self._layers,
                environment=self._environment,
                log=self.log,
            )
            self._all.append(environment)
            return environment


def _error(kind: str, message: str) -> dict[str, str]:
    return {"errorType": kind, "errorMessage": message}
