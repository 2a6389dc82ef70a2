"""Carrying out planned faults: a layer between the sockets and the application."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from export_jobs_local.segmentation.config import API_PATH, IMS_PATH
from export_jobs_local.segmentation.faults import Call, Fault
from export_jobs_local.segmentation.state import ServiceState

Transports = dict[tuple[str, int], asyncio.Transport]
_JOBS = f"{API_PATH}/export/jobs"
_NOT_JSON = b"<html><body>Service temporarily confused</body></html>"


def protocol_remembering(transports: Transports) -> type[H11Protocol]:
    """Uvicorn's protocol, which also remembers each client's connection, so it can be cut."""

    class RememberingProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._peer = transport.get_extra_info("peername")
            transports[self._peer] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop(self._peer, None)
            super().connection_lost(exc)

    return RememberingProtocol


class Misbehaviour:
    """ASGI middleware: logs each API call, and does to it what the plan says."""

    def __init__(self, app: ASGIApp, state: ServiceState, transports: Transports) -> None:
        self._app = app
        self._state = state
        self._transports = transports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = _call_of(scope) if scope["type"] == "http" else None
        if call is None:
            await self._app(scope, receive, send)
            return
        self._state.count(call)
        fault = self._state.faults.strike(call)
        self._state.refuse_if_due()  # this call is still answered
        status = await self._answer(call, fault, scope, receive, send)
        self._state.log(call, scope["path"], status)

    async def _answer(  # noqa: PLR0912  one branch a kind of fault reads best
        self, call: Call, fault: Fault | None, scope: Scope, receive: Receive, send: Send
    ) -> int:
        if fault is None:
            return await _pass_on(self._app, scope, receive, send)
        if fault.kind == "delete_job":
            self._delete_job(fault)
        if fault.kind == "late_job":
            later = self._state.config.clock() + int(fault.seconds * 1000)
            scope["export_jobs.visible_after"] = later
        if fault.kind == "reset_before":
            return self._cut(scope)
        if fault.kind == "timeout_before":
            await _wait_or_gone(fault.seconds, receive)
            return self._cut(scope)
        if fault.kind == "http":
            return await _http_error(fault, send)
        started, body = await _captured(self._app, scope, receive)
        status = int(started["status"])
        match fault.kind:
            case "reset_after":
                return self._cut(scope)
            case "timeout_after":
                await asyncio.sleep(fault.seconds)
                return self._cut(scope)
            case "truncated":
                await send(started)
                await send({"type": "http.response.body", "body": body[:-5], "more_body": True})
                await asyncio.sleep(0.01)
                self._cut(scope)
            case "not_json":
                await _send_whole(send, {**started, "headers": _headers(_NOT_JSON)}, _NOT_JSON)
            case "slow_drip":
                await _drip(send, started, body, fault.seconds)
            case "duplicate_record" | "omit_job" | "stale_job":
                body = self._listing_with(fault, body) if call == "list" and status == 200 else body
                await _send_whole(send, {**started, "headers": _headers(body)}, body)
            case _:
                await _send_whole(send, started, body)
        return status

    def _cut(self, scope: Scope) -> int:
        """Resets the connection, so that the client sees a break and not an end."""
        transport = self._transports.get(tuple(scope["client"]))
        if transport is not None:
            connection = transport.get_extra_info("socket")
            linger_not = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
            transport.abort()
        return 0

    def _delete_job(self, fault: Fault) -> None:
        store, config = self._state.store, self._state.config
        if fault.job_id is not None:
            self._state.life.remove(fault.job_id)
            return
        for sandbox in config.sandboxes:
            newest = store.page(
                org=config.org_id, sandbox=sandbox, limit=1, after=None, status=None, now=2**62
            )
            for job in newest:
                self._state.life.remove(job.id)
                return

    def _listing_with(self, fault: Fault, body: bytes) -> bytes:
        page = json.loads(body)
        records: list[dict[str, Any]] = page["records"]
        chosen = [r for r in records if fault.job_id in {None, r["id"]}][:1]
        for record in chosen:
            position = records.index(record)
            if fault.kind == "duplicate_record":
                records.insert(position, record)
            elif fault.kind == "omit_job":
                records.pop(position)
            else:
                records[position] = self._state.before.get(record["id"], record)
        return json.dumps(page).encode()


def _call_of(scope: Scope) -> Call | None:
    path, method = scope["path"].rstrip("/"), scope["method"]
    if path == IMS_PATH and method == "POST":
        return "token"
    if path == _JOBS:
        by_method: dict[str, Call] = {"GET": "list", "POST": "create"}
        return by_method.get(method)
    if re.fullmatch(re.escape(_JOBS) + r"/[^/]+", path):
        by_method = {"GET": "get", "DELETE": "delete"}
        return by_method.get(method)
    return None


async def _pass_on(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> int:
    status = 0

    async def noting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    await app(scope, receive, noting)
    return status


async def _captured(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    started: Message = {}
    body = bytearray()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, keep)
    return started, bytes(body)


async def _send_whole(send: Send, started: Message, body: bytes) -> None:
    await send(started)
    await send({"type": "http.response.body", "body": body})


async def _drip(send: Send, started: Message, body: bytes, seconds: float) -> None:
    await send(started)
    pause = seconds / max(1, len(body))
    for byte in body:
        await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
        await asyncio.sleep(pause)
    await send({"type": "http.response.body", "body": b""})


async def _http_error(fault: Fault, send: Send) -> int:
    body = json.dumps(
        {"error_code": f"{fault.status}000", "message": "As planned by the control"}
    ).encode()
    headers = _headers(body)
    if fault.retry_after is not None:
        headers.append((b"retry-after", fault.retry_after.encode("ascii")))
    started = {"type": "http.response.start", "status": fault.status, "headers": headers}
    await _send_whole(send, started, body)
    return fault.status


async def _wait_or_gone(seconds: float, receive: Receive) -> None:
    """Waits, but no longer than the client does."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(gone(), timeout=seconds)
    except TimeoutError:
        return


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
