"""Serves the pages on 127.0.0.1, to anyone who has the current token. It only reads."""

from __future__ import annotations

import errno
import hashlib
import logging
import secrets
import socket
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import uvicorn
from export_jobs.contract.text import one_line
from export_jobs.contract.times import rfc3339
from export_jobs_local.background import ServerThread, bound_to
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export_jobs_cli.errors import UserError
from export_jobs_cli.page.addresses import SERVED
from export_jobs_cli.page.console import console_links
from export_jobs_cli.page.pages import NotThere, Page, Pages
from export_jobs_cli.page.rendering import ASSETS, Frame, Renderer
from export_jobs_cli.stack import explained

logger = logging.getLogger(__name__)

USUAL_PORT: Final = 8642
"""If it is free, so that the addresses of pages stay the same; otherwise any free port."""
COOKIE: Final = "export-jobs-page"
HOSTS: Final = ["127.0.0.1", "localhost"]
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageServer:
    """Serves the pages in a thread while the `with` block runs."""

    def __init__(self, pages: Pages, *, port: int | None = None) -> None:
        """`port`: 0 takes any free one; None the usual one, or any if that is in use."""
        self._pages = pages
        self._wanted = port
        self.token = secrets.token_urlsafe(24)
        # Not the port: browsers send a cookie to every port of a host, and two tunnels to two
        # machines, both with the usual port at their end, would overwrite each other's.
        self.cookie = f"{COOKIE}-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        bound = _bound(self._wanted)
        self.port: int = bound.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                application(self._pages, token=self.token, cookie=self.cookie),
                log_level="critical",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._running = ServerThread(server, bound, name="page")
        self._running.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.__exit__(kind, error, trace)

    @property
    def address(self) -> str:
        """The address to open, with the current token."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"


def application(pages: Pages, *, token: str, cookie: str) -> Starlette:
    """The pages as an ASGI application."""
    frame = Frame(pages.system.name, console_links(pages.system), is_live=True)
    renderer = Renderer(pages, SERVED, frame)

    def page(build: Callable[[Request], Page]) -> Callable[[Request], Response]:
        return lambda request: _answer(renderer, request, build)

    routes = [
        Route("/", page(lambda _: pages.overview()), methods=["GET"]),
        Route("/requests", page(lambda _: pages.requests()), methods=["GET"]),
        Route("/expectations", page(lambda _: pages.expectations()), methods=["GET"]),
        Route("/job", page(lambda r: pages.job(*_named(r))), methods=["GET"]),
        Route("/dataset", page(lambda r: pages.dataset(*_named(r))), methods=["GET"]),
        Mount("/assets", StaticFiles(directory=ASSETS)),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_WithHeaders),
            Middleware(_WithFaultsShown, renderer=renderer),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
            Middleware(_WithToken, token=token, cookie=cookie, renderer=renderer),
        ],
    )


def _answer(renderer: Renderer, request: Request, build: Callable[[Request], Page]) -> Response:
    try:
        with explained():
            page = build(request)
    except NotThere as error:
        return HTMLResponse(renderer.problem("Not found", str(error)), status_code=404)
    except UserError as error:
        html = renderer.problem("The stack can't be read", str(error))
        return HTMLResponse(html, status_code=503)
    html = renderer.page(page)
    # The foot has the time of reading, which is no change.
    content = html.partition("<footer>")[0].encode()
    version = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": version, "X-Read-At": rfc3339(page.read_at)}
    if request.headers.get("if-none-match") == version:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(html, headers=headers)


def _named(request: Request) -> tuple[str, str]:
    sandbox, wanted = request.query_params.get("sandbox"), request.query_params.get("id")
    if not sandbox or not wanted:
        raise NotThere("the address needs a sandbox and an id: …?sandbox=NAME&id=ID")
    return sandbox, wanted


class _WithHeaders:
    """Adds the headers that keep the page to itself to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                names = {name for name, _ in own}
                kept = [(name, value) for name, value in message["headers"] if name not in names]
                message["headers"] = [*kept, *own]
            await send(message)

        await self._app(scope, receive, with_headers)


class _WithFaultsShown:
    """Answers a fault of ours with a page that says where to look: its traceback is logged.

    Starlette's own handler is outside of all middleware, and then has the connection closed.
    """

    def __init__(self, app: ASGIApp, renderer: Renderer) -> None:
        self._app = app
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def noticed(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception as error:
            trace = "".join(traceback.format_exception(error)).splitlines()
            shown = "\n".join(line if line.isprintable() else one_line(line) for line in trace)
            logger.error(  # noqa: TRY400  a text in the trace must not act in the terminal
                "the page %r could not be made\n%s", scope["path"], shown
            )
            if has_started:
                raise
            html = self._renderer.problem(
                "Something went wrong in this page",
                "See the error in the terminal where export-jobs was started.",
            )
            await HTMLResponse(html, status_code=500)(scope, receive, send)


class _WithToken:
    """Lets in who has the token, in the address or, from then on, in a cookie."""

    def __init__(self, app: ASGIApp, token: str, cookie: str, renderer: Renderer) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        given = request.query_params.get("token")
        if request.url.path.startswith("/assets/"):
            answer: ASGIApp = self._app
        elif given is not None and self._is_right(given):
            answer = self._without_token_in_the_address(request)
        elif self._is_right(request.cookies.get(self._cookie, "")):
            answer = self._app
        else:
            answer = self._asks_for_token(request)
        await answer(scope, receive, send)

    def _is_right(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _without_token_in_the_address(self, request: Request) -> Response:
        """So that the address can be bookmarked, and the token is in no history of pages."""
        url = request.url.remove_query_params("token")
        place = f"{url.path}?{url.query}" if url.query else url.path
        response = RedirectResponse(f"/{place.lstrip('/')}", status_code=303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="lax", path="/")
        return response

    def _asks_for_token(self, request: Request) -> Response:
        kept = [
            (name, value) for name, value in request.query_params.multi_items() if name != "token"
        ]
        html = self._renderer.problem(
            "This page needs a token",
            "Open the address that the command printed: it contains the current token. "
            "Or enter that token here.",
            asks_for_token=kept,
        )
        return HTMLResponse(html, status_code=403)


def _bound(port: int | None) -> socket.socket:
    """Raises OSError if the port can't be used."""
    wanted: Sequence[int] = (USUAL_PORT, 0) if port is None else (port,)
    for number in wanted:
        try:
            bound = bound_to(number)
            bound.listen()  # otherwise another process could still bind to it
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES} or number == wanted[-1]:
                raise
        else:
            return bound
    raise AssertionError("the last port was used, or its error raised")
