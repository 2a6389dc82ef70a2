"""The local Segmentation service as a server, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from export_jobs_local.background import TIMEOUT_S, ServerThread, bound_to
from export_jobs_local.segmentation import control_api
from export_jobs_local.segmentation.app import create_app
from export_jobs_local.segmentation.config import API_PATH, IMS_PATH, ServiceConfig
from export_jobs_local.segmentation.fault_middleware import (
    FaultMiddleware,
    Transports,
    protocol_remembering,
)
from export_jobs_local.segmentation.state import Control, ServiceState

KEEP_ALIVE_S = 75
"""How long, in seconds, an idle connection stays open, as with common gateways."""


class SegmentationService:
    """Runs the service in a thread while the `with` block runs."""

    def __init__(self, config: ServiceConfig | None = None) -> None:
        self.config = config or ServiceConfig()
        self.client_id = self.config.client_id
        self.client_secret = self.config.client_secret
        self.scopes = self.config.scopes
        self.org_id = self.config.org_id
        self.sandboxes = self.config.sandboxes

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="export-jobs-")
        directory = self.config.data_dir or Path(self._temporary.name)
        self._state = ServiceState(self.config, directory)
        self.control = Control(self._state)
        bound = bound_to(self.config.port)
        self.port: int = bound.getsockname()[1]
        transports: Transports = {}
        app = create_app(self._state)
        app.include_router(control_api.router)
        self._server = _Server(
            uvicorn.Config(
                FaultMiddleware(app, self._state, transports),
                http=protocol_remembering(transports),
                log_level="critical",
                access_log=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            )
        )
        self._running = ServerThread(self._server, bound, name="segmentation")
        self._running.__enter__()
        self._state.refuse = self._server.refuse
        self._state.lifecycle.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.__exit__(kind, error, trace)
        self._state.close()
        self._temporary.cleanup()

    @property
    def root_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return self.root_url + API_PATH

    @property
    def ims_url(self) -> str:
        return self.root_url + IMS_PATH


class _Server(uvicorn.Server):
    """Uvicorn, which can also stop listening for a while, so that connections are refused."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._refusing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._refusing:
            self._refusing.cancel()
        await super().shutdown(sockets)

    def refuse(self, seconds: float) -> None:
        """Stops listening on the port for this time; it has stopped when this returns.

        Calls in progress are answered. A refusal in progress continues unchanged.
        """
        if threading.get_ident() == self._thread_id:
            self._stop_listening(seconds)
            return
        closed = threading.Event()

        def stop() -> None:
            self._stop_listening(seconds)
            closed.set()

        self._loop.call_soon_threadsafe(stop)
        closed.wait(TIMEOUT_S)

    def _stop_listening(self, seconds: float) -> None:
        if self._refusing and not self._refusing.done():
            return
        (listening,) = self.servers
        port = listening.sockets[0].getsockname()[1]
        listening.close()
        # A bound socket that does not listen refuses connections, and reserves the port.
        held = bound_to(port)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        self._refusing = self._loop.create_task(self._listen_again(held, seconds))

    async def _listen_again(self, held: socket.socket, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            held.close()
            raise
        self.servers = [await self._loop.create_server(self._protocol, sock=held)]

    def _protocol(self) -> asyncio.Protocol:
        """Makes a protocol for a connection, as uvicorn does."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
