"""The local Segmentation service as a server, on 127.0.0.1."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from export_jobs_local.segmentation import control_api
from export_jobs_local.segmentation.app import create_app
from export_jobs_local.segmentation.config import API_PATH, IMS_PATH, ServiceConfig
from export_jobs_local.segmentation.misbehaviour import (
    Misbehaviour,
    Transports,
    protocol_remembering,
)
from export_jobs_local.segmentation.state import Control, ServiceState

START_TIMEOUT_S = 10.0


class SegmentationService:
    """The service in a thread of its own, for as long as the `with` block lasts."""

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
        # With the protocol named, asyncio switches Nagle's algorithm off; else each answer takes 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self.config.port))
        self.port: int = self._socket.getsockname()[1]
        transports: Transports = {}
        app = create_app(self._state)
        app.include_router(control_api.router)
        self._server = uvicorn.Server(
            uvicorn.Config(
                Misbehaviour(app, self._state, transports),
                http=protocol_remembering(transports),
                log_level="critical",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="segmentation", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the local Segmentation service did not start")
            time.sleep(0.005)
        self._state.life.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=START_TIMEOUT_S)
        self._socket.close()
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
