"""The page of a stack, served in this process, and a session that has its token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests
from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.model.records import JobRecord, SandboxState
from export_jobs_cli.page import kept
from export_jobs_cli.page.pages import Pages
from export_jobs_cli.page.server import PageServer
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import AwsServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.isolation import aws_session, http_session

from support.pages import DAY_MS


@dataclass
class Site:
    """A page's server, the tables that it reads, and a browser's session that has the token."""

    pages: Pages
    server: PageServer
    store: DynamoDbStore
    session: requests.Session
    calls: list[str]
    """The operations of AWS that the page has called."""

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def get(self, path: str = "/", **options: Any) -> requests.Response:
        return self.session.get(self.root + path, timeout=30, **options)

    def read(self, path: str = "/") -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def bare(self, path: str, **headers: str) -> requests.Response:
        """A request of somebody else: without a cookie, with any Host."""
        with http_session() as session:
            return session.get(self.root + path, headers=headers, timeout=30, allow_redirects=False)

    def put(self, *records: JobRecord) -> None:
        for record in records:
            self.store.put(replace(record, version=0))


def system_of(aws: AwsServer, stack: LocalStack, calls: list[str]) -> DeployedSystem:
    session = aws_session()
    session.events.register(
        "before-call", lambda model, **_: calls.append(model.name), unique_id="counted"
    )
    return DeployedSystem(stack.name, session=session, endpoint_url=aws.url)


@contextmanager
def served(aws: AwsServer, stack: LocalStack) -> Iterator[Site]:
    """A stack that has been swept, and whose page reads at every request."""
    with pytest.MonkeyPatch.context() as patch, http_session() as session:
        patch.setattr(kept, "FRESH_MS", 0)
        calls: list[str] = []
        system = system_of(aws, stack, calls)
        for sandbox in ("prod", "dev"):
            system.store.put_state(SandboxState(sandbox, now_ms() - DAY_MS, swept_at=now_ms()))
        pages = Pages(system)
        with PageServer(pages, port=0) as server:
            session.get(server.address, timeout=30, allow_redirects=False)  # for the cookie
            yield Site(pages, server, system.store, session, calls)
