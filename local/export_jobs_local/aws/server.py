"""Moto's AWS services over HTTP, on 127.0.0.1."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from botocore.config import Config
from werkzeug.serving import WSGIRequestHandler, make_server

from export_jobs_local.aws.quicker import make_quicker
from export_jobs_local.isolation import (
    KEY,
    REGION,
    aws_client,
    aws_session,
    http_session,
    isolated,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CONFIG = Config(retries={"mode": "standard"}, connect_timeout=5, read_timeout=30)


class AwsServer(ABC):
    """An emulator's services on 127.0.0.1, while the `with` block runs; they start empty.

    Moto is the local system's. The tests have a second one.
    """

    def __init__(self, *, port: int = 0) -> None:
        self._port = port
        self._session = aws_session()

    @abstractmethod
    def __enter__(self) -> Self:
        """Returns once the services answer."""

    @abstractmethod
    def __exit__(self, *exception: object) -> None:
        """Ends them."""

    @property
    @abstractmethod
    def url(self) -> str:
        """All services have the same."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which boto3, the AWS CLI and tools built on them call this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",  # some read only this one
        }

    def client(self, service: Any) -> Any:
        """A boto3 client of this server, independent of the shell's settings."""
        return aws_client(self._session, service, self.url, _CONFIG)

    @abstractmethod
    def stop_own_pollers(self) -> None:
        """Stops the emulator from invoking the functions of a new stack itself."""


class MotoServer(AwsServer):
    """Moto's services.

    Moto keeps its state in the process, so a process can have only one of these at a time.
    """

    def __enter__(self) -> Self:
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415  half a second of imports
            DomainDispatcherApplication,
            create_backend_app,
        )

        os.environ.pop("INITIAL_NO_AUTH_ACTION_COUNT", None)  # moto would check permissions
        with isolated():  # some of what these import creates sessions of botocore
            make_quicker()
            _ignore_models_at_home()
            _keep_trace_headers()
            _keep_key_policies()
            _make_secrets_of_stacks()
        services = DomainDispatcherApplication(create_backend_app)
        app = _Isolated(_Tracing(_OneAtATime(services)))
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

    def stop_own_pollers(self) -> None:
        """Stops moto from polling queues: it would run the functions in Docker."""
        from moto.sqs.models import sqs_backends  # noqa: PLC0415  with the server's own imports

        for account in sqs_backends.values():
            for backend in account.values():
                for queue in backend.queues.values():
                    queue.lambda_event_source_mappings.clear()

    def _reset(self) -> None:
        with http_session() as session:
            session.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()


class _Silent(WSGIRequestHandler):
    """HTTP/1.1, without a log line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing."""


class _Isolated:
    """Isolates the botocore sessions with which moto looks up the regions of its services."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with isolated():
            return self._app(environ, start_response)


class _OneAtATime:
    """Runs DynamoDB's calls one after the other.

    Moto checks a condition and then writes, without a lock. Conditional writes would not be atomic,
    as they are in DynamoDB, and everything here depends on that.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Reads the body first: a client that sends slowly must not delay the others.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
            return self._app(environ, start_response)
        with self._lock:
            return self._app(environ, start_response)


_TRACE_HEADER: ContextVar[str | None] = ContextVar("trace header", default=None)
"""The header of the call that this thread is answering, if its service passes it on."""
_SERVICE = re.compile(r"/([a-z0-9-]+)/aws4_request")
_PASSING_ON = {"sqs", "sns"}
"""The services here through which Lambda follows a chain (S3's notifications are not emulated):
https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""


class _Tracing:
    """Adds the X-Ray trace header of a call to the messages that it sends, as SQS does.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-services-sqs.html
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        signed_for = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
        header = environ.get("HTTP_X_AMZN_TRACE_ID")
        if header is None or signed_for is None or signed_for[1] not in _PASSING_ON:
            return self._app(environ, start_response)
        kept = _TRACE_HEADER.set(unquote(header))  # botocore quotes special characters
        try:
            return self._app(environ, start_response)
        finally:
            _TRACE_HEADER.reset(kept)


def _ignore_models_at_home() -> None:
    """Keeps moto from reading descriptions of services in ~/.aws/models, as botocore does."""
    from moto.core.loaders import Loader  # noqa: PLC0415  with the server's own imports

    Loader.CUSTOMER_DATA_PATH = os.devnull


@functools.cache
def _keep_trace_headers() -> None:
    """Passes the call's trace header to moto's `send_message`, which every sender ends up in.

    Patches the whole process, once; without a header nothing changes. A sender's own AWSTraceHeader
    overrides the call's, except in a batch: moto does not read it there.
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


@functools.cache
def _keep_key_policies() -> None:
    """Keeps the policy of a key as text, as KMS returns it.

    Moto keeps that of a stack's key as it is in the template, and then can't describe the key.
    Patches the whole process, once.
    """
    from moto.kms.models import KmsBackend  # noqa: PLC0415  with the server's own imports

    create = KmsBackend.create_key

    @functools.wraps(create)
    def creating(self: Any, policy: Any, *args: Any, **options: Any) -> Any:
        text = json.dumps(policy) if isinstance(policy, dict) else policy
        return create(self, text, *args, **options)

    KmsBackend.create_key = creating  # type: ignore[method-assign]


@functools.cache
def _make_secrets_of_stacks() -> None:
    """Makes moto's CloudFormation create secrets: it finds every subclass of its model.

    Patches the whole process, once, before the first stack is created.
    """
    from moto.core.common_models import CloudFormationModel  # noqa: PLC0415  with the server's own
    from moto.secretsmanager.models import secretsmanager_backends  # noqa: PLC0415  imports

    class Secret(CloudFormationModel):
        def __init__(self, arn: str) -> None:
            self.physical_resource_id = arn

        @staticmethod
        def cloudformation_type() -> str:
            return "AWS::SecretsManager::Secret"

        @staticmethod
        def cloudformation_name_type() -> str:
            return "Name"

        @classmethod
        def create_from_cloudformation_json(
            cls,
            resource_name: str,
            cloudformation_json: Any,
            account_id: str,
            region_name: str,
            **_: Any,
        ) -> Secret:
            backend = secretsmanager_backends[account_id][region_name]
            created = backend.create_secret(
                name=resource_name,
                secret_string=cloudformation_json["Properties"]["SecretString"],
                secret_binary=None,
                description=cloudformation_json["Properties"].get("Description"),
                tags=None,
                kms_key_id=None,
                client_request_token=None,
                replica_regions=[],
                force_overwrite=False,
            )
            return cls(str(json.loads(created)["ARN"]))

        @classmethod
        def delete_from_cloudformation_json(
            cls, resource_name: str, _: Any, account_id: str, region_name: str
        ) -> None:
            """Without a recovery window, as CloudFormation does."""
            backend = secretsmanager_backends[account_id][region_name]
            backend.delete_secret(resource_name, None, force_delete_without_recovery=True)
