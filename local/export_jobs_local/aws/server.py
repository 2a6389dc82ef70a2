"""Moto's AWS services over HTTP, on 127.0.0.1."""

from __future__ import annotations

import functools
import io
import re
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import boto3
import requests
from botocore.config import Config
from werkzeug.serving import WSGIRequestHandler, make_server

from export_jobs_local.aws.quicker import make_quicker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REGION = "us-east-1"
_KEY = "local"


class MotoServer:
    """The services, for as long as the `with` block lasts; they start empty.

    Moto keeps its state in the process, so one process holds one of these at a time.
    """

    def __init__(self, *, port: int = 0) -> None:
        self._port = port

    def __enter__(self) -> Self:
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415  half a second of imports
            DomainDispatcherApplication,
            create_backend_app,
        )

        make_quicker()
        _keep_trace_headers()
        app = _Tracing(_OneAtATime(DomainDispatcherApplication(create_backend_app)))
        self._server = make_server(
            "127.0.0.1", self._port, app, threaded=True, request_handler=_Silent
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="moto", daemon=True
        )
        self._thread.start()
        self._reset()
        return self

    def __exit__(self, *exception: object) -> None:
        self._reset()
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes boto3, the AWS CLI and everything built on them talk to this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _KEY,
        }

    def client(self, service: Any) -> Any:
        """A boto3 client of this server, whatever the machine's own AWS settings are."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_KEY,
            config=Config(
                retries={"mode": "standard"},
                connect_timeout=5,
                read_timeout=30,
                proxies={},  # a proxy of the environment does not lead to this machine
            ),
        )

    def stop_own_pollers(self) -> None:
        """Keeps moto from polling queues for functions itself: it would run them in Docker."""
        from moto.sqs.models import sqs_backends  # noqa: PLC0415  with the server's own imports

        for account in sqs_backends.values():
            for backend in account.values():
                for queue in backend.queues.values():
                    queue.lambda_event_source_mappings.clear()

    def _reset(self) -> None:
        with requests.Session() as session:
            session.trust_env = False  # the same: no proxy
            session.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()


class _Silent(WSGIRequestHandler):
    """HTTP/1.1, and no line a request on standard error."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing: what a program wants to know, its client tells it."""


class _OneAtATime:
    """Lets DynamoDB's calls in one after the other.

    Moto checks a condition and then writes, without a lock between the two. DynamoDB's promise that
    a conditional write is atomic, which all we do rests on, would not hold.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The body is read first: a client that sends slowly must not hold up the others.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
            return self._app(environ, start_response)
        with self._lock:
            return self._app(environ, start_response)


_TRACE_HEADER: ContextVar[str | None] = ContextVar("trace header", default=None)
"""That of the call which this thread is answering, if its service passes it on."""
_SERVICE = re.compile(r"/([a-z0-9-]+)/aws4_request")
_PASSING_ON = {"sqs", "sns"}
"""The services here through which Lambda follows a chain of invocations (S3's notifications are not played):
https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""


class _Tracing:
    """Keeps X-Ray's trace header of a call for the messages that are sent by it, as SQS does.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-services-sqs.html
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        signed_for = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
        header = environ.get("HTTP_X_AMZN_TRACE_ID")
        if header is None or signed_for is None or signed_for[1] not in _PASSING_ON:
            return self._app(environ, start_response)
        kept = _TRACE_HEADER.set(unquote(header))  # botocore quotes what is rare in a header
        try:
            return self._app(environ, start_response)
        finally:
            _TRACE_HEADER.reset(kept)


@functools.cache
def _keep_trace_headers() -> None:
    """Gives moto's `send_message`, which every way to a queue ends in, the call's trace header.

    Once and for all of the process: without a header it does what it did before. A sender's own
    AWSTraceHeader goes before the call's, except in a batch: moto does not read it there.
    """
    from moto.sqs.models import SQSBackend  # noqa: PLC0415  with the server's own imports

    send_message: Callable[..., Any] = SQSBackend.send_message

    @functools.wraps(send_message)
    def sending(*args: Any, system_attributes: dict[str, Any] | None = None, **more: Any) -> Any:
        header = _TRACE_HEADER.get()
        if header:
            from_call = {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
            system_attributes = {**from_call, **(system_attributes or {})}
        return send_message(*args, system_attributes=system_attributes, **more)

    SQSBackend.send_message = sending  # type: ignore[method-assign]
