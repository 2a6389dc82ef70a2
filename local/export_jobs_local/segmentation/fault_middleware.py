"""Middleware that injects the planned faults, between the sockets and the application."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from export_jobs_local.segmentation.config import ACCESS_CONTROL_PATH, API_PATH, IMS_PATH
from export_jobs_local.segmentation.faults import Call, Fault
from export_jobs_local.segmentation.state import ServiceState

Transports = dict[tuple[str, int], asyncio.Transport]
_JOBS = f"{API_PATH}/export/jobs"
_OTHER_CALLS: Mapping[tuple[str, str], Call] = {
    ("POST", IMS_PATH): "token",
    ("GET", f"{API_PATH}/config/schedules"): "schedules",
    ("POST", f"{ACCESS_CONTROL_PATH}/effective-policies"): "policies",
    ("GET", f"{ACCESS_CONTROL_PATH}/reference"): "reference",
}
_NOT_JSON = b"<html><body>Service temporarily confused</body></html>"


def protocol_remembering(transports: Transports) -> type[H11Protocol]:
    """Uvicorn's protocol, which also keeps each client's connection, so that it can be reset."""

    class RememberingProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._peer = transport.get_extra_info("peername")
            transports[self._peer] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop(self._peer, None)
            super().connection_lost(exc)

    return RememberingProtocol


@dataclass(frozen=True)
class _Answer:
    """The application's answer: the message that starts the response, and the whole body."""

    start: Message
    body: bytes

    @property
    def status(self) -> int:
        return int(self.start["status"])

    def with_body(self, body: bytes) -> _Answer:
        """The same status with another body, and with no headers but that body's."""
        return _Answer({**self.start, "headers": _headers(body)}, body)


class FaultMiddleware:
    """ASGI middleware: logs each API call, and injects the fault that is planned for it."""

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
        if fault is None:
            status = await _pass_on(self._app, scope, receive, send)
        else:
            status = await self._answer_with(fault, call, scope, receive, send)
        self._state.log(call, scope["path"], status)

    async def _answer_with(
        self, fault: Fault, call: Call, scope: Scope, receive: Receive, send: Send
    ) -> int:
        """Answers a call with a fault; returns the status sent, 0 if the connection was reset."""
        match fault.kind:
            case "reset_before" | "timeout_before" | "http":
                return await self._fail_before_effect(fault, scope, receive, send)
            case "delete_job":
                self._delete_job(fault)
            case "late_job":
                self._show_job_late(fault, scope)
        answer = await _captured(self._app, scope, receive)
        if fault.kind in {"reset_after", "timeout_after"}:
            return await self._fail_after_effect(fault, scope)
        await self._send_with(fault, call, answer, scope, send)
        return answer.status

    async def _fail_before_effect(
        self, fault: Fault, scope: Scope, receive: Receive, send: Send
    ) -> int:
        """Fails a call that the application never sees; returns the status sent, or 0."""
        if fault.kind == "http":
            return await _send_http_error(fault, send)
        if fault.kind == "timeout_before":
            await _wait_or_gone(fault.seconds, receive)
        return self._reset(scope)

    async def _fail_after_effect(self, fault: Fault, scope: Scope) -> int:
        """Fails a call that has taken effect: the client never gets the answer."""
        if fault.kind == "timeout_after":
            await asyncio.sleep(fault.seconds)
        return self._reset(scope)

    async def _send_with(
        self, fault: Fault, call: Call, answer: _Answer, scope: Scope, send: Send
    ) -> None:
        """Sends an answer, altered, truncated or slowed down by its fault."""
        match fault.kind:
            case "truncated":
                await self._send_truncated(answer, scope, send)
            case "not_json":
                await _send_whole(send, answer.with_body(_NOT_JSON))
            case "slow_drip":
                await _send_slowly(send, answer, fault.seconds)
            case "duplicate_record" | "omit_job" | "stale_job":
                is_listing = call == "list" and answer.status == 200
                body = self._listing_with(fault, answer.body) if is_listing else answer.body
                await _send_whole(send, answer.with_body(body))
            case _:
                await _send_whole(send, answer)

    async def _send_truncated(self, answer: _Answer, scope: Scope, send: Send) -> None:
        """Sends all but the last bytes of an answer, then resets the connection."""
        await send(answer.start)
        await send({"type": "http.response.body", "body": answer.body[:-5], "more_body": True})
        await asyncio.sleep(0.01)
        self._reset(scope)

    def _reset(self, scope: Scope) -> int:
        """Resets the connection, so that the client sees an error instead of an orderly close.

        Returns 0, which is logged for a call without an answer.
        """
        transport = self._transports.get(tuple(scope["client"]))
        if transport is not None:
            connection = transport.get_extra_info("socket")
            no_linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            transport.abort()
        return 0

    def _show_job_late(self, fault: Fault, scope: Scope) -> None:
        """Makes listings leave out the job that this call creates, for a while."""
        later = self._state.config.clock() + int(fault.seconds * 1000)
        scope["export_jobs.visible_after"] = later

    def _delete_job(self, fault: Fault) -> None:
        """Deletes the job that the fault names, or the newest of the first sandbox with jobs."""
        store, config = self._state.store, self._state.config
        if fault.job_id is not None:
            self._state.lifecycle.remove(fault.job_id)
            return
        for sandbox in config.sandboxes:
            newest = store.page(
                org=config.org_id, sandbox=sandbox, limit=1, after=None, status=None, now=2**62
            )
            for job in newest:
                self._state.lifecycle.remove(job.id)
                return

    def _listing_with(self, fault: Fault, body: bytes) -> bytes:
        """A page with one record repeated, left out, or as it was before its last change."""
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
                before = self._state.store.before_last_change(record["id"])
                records[position] = before or record
        return json.dumps(page).encode()


def _call_of(scope: Scope) -> Call | None:
    """The kind of API call that a request is; None for any other request."""
    path, method = scope["path"].rstrip("/"), scope["method"]
    if other := _OTHER_CALLS.get((method, path)):
        return other
    if path == _JOBS:
        by_method: dict[str, Call] = {"GET": "list", "POST": "create"}
        return by_method.get(method)
    if re.fullmatch(re.escape(_JOBS) + r"/[^/]+", path):
        by_method = {"GET": "get", "DELETE": "delete"}
        return by_method.get(method)
    return None


async def _pass_on(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> int:
    """Lets the application answer; returns the status."""
    status = 0

    async def noting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    await app(scope, receive, noting)
    return status


async def _captured(app: ASGIApp, scope: Scope, receive: Receive) -> _Answer:
    """The application's answer, of which nothing has been sent."""
    start: Message = {}
    body = bytearray()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, keep)
    return _Answer(start, bytes(body))


async def _send_whole(send: Send, answer: _Answer) -> None:
    await send(answer.start)
    await send({"type": "http.response.body", "body": answer.body})


async def _send_slowly(send: Send, answer: _Answer, seconds: float) -> None:
    """Sends the body byte by byte, over this number of seconds."""
    await send(answer.start)
    pause = seconds / max(1, len(answer.body))
    for byte in answer.body:
        await asyncio.sleep(pause)  # before each byte: with the last one, the client has it all
        await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_http_error(fault: Fault, send: Send) -> int:
    """Sends the error that the fault describes; returns its status."""
    body = json.dumps(
        {"error_code": f"{fault.status}000", "message": "As planned by the control"}
    ).encode()
    headers = _headers(body)
    if fault.retry_after is not None:
        headers.append((b"retry-after", fault.retry_after.encode("ascii")))
    start = {"type": "http.response.start", "status": fault.status, "headers": headers}
    await _send_whole(send, _Answer(start, body))
    return fault.status


async def _wait_or_gone(seconds: float, receive: Receive) -> None:
    """Waits for this number of seconds, or until the client closes the connection."""

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
