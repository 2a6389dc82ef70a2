"""The four calls of `/export/jobs`. Source of every fact: `docs/contract.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

from pydantic import ValidationError

from export_jobs.client.credentials import Credentials
from export_jobs.client.errors import (
    BadCredentials,
    Forbidden,
    NotFound,
    NotUnderstood,
    OutcomeUnknown,
    Refused,
    RetryLater,
)
from export_jobs.client.tokens import ImsTokens
from export_jobs.client.transport import TRY_LATER, Answer, Transport
from export_jobs.contract import CreateExportJob, Job, JobPage

_SECRETS = re.compile(r"(?i)(bearer\s+)?[A-Za-z0-9_\-]{12,}\.[A-Za-z0-9_\-.]{12,}")
"""Anything that looks like a token (JWT), in a text that is going to be shown."""


class SegmentationClient:
    """Calls the service for one organisation, in any of its sandboxes. Thread-safe.

    Each method raises a subclass of SegmentationError and nothing else.
    """

    def __init__(
        self,
        *,
        base_url: str,
        credentials: Callable[[], Credentials],
        tokens: ImsTokens,
        transport: Transport,
    ) -> None:
        """`base_url` is the service's root, `https://platform.adobe.io/data/core/ups`."""
        self._jobs_url = base_url.rstrip("/") + "/export/jobs"
        self._credentials = credentials
        self._tokens = tokens
        self._transport = transport

    def list_jobs(
        self, sandbox: str, *, limit: int, cursor: str | None = None, status: str | None = None
    ) -> JobPage:
        """One page of jobs, newest first; `page.next_cursor` asks for the one after.

        `limit` is always sent: without any parameter the service would list every job there is.
        """
        params = {"limit": str(limit)}
        if cursor is not None:
            params["offset"] = cursor
        if status is not None:
            params["status"] = status
        answer = self._call("GET", self._jobs_url, sandbox, params=params)
        try:
            page = JobPage.from_answer(answer.body)
        except (ValidationError, RecursionError):
            raise self._not_understood(answer, "no page of jobs") from None
        next_cursor = self._next_cursor(page.next_link)
        if next_cursor is not None and next_cursor == cursor:
            raise NotUnderstood("the listing's next page is the page itself")
        return page.continuing_at(next_cursor)

    def iter_pages(
        self, sandbox: str, *, limit: int, status: str | None = None
    ) -> Iterator[JobPage]:
        """All pages, each asked for when it is wanted. Raises NotUnderstood if they go in circles."""
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            page = self.list_jobs(sandbox, limit=limit, cursor=cursor, status=status)
            fresh = {job.id for job in page.records} - seen
            yield page
            if page.next_cursor is None:
                return
            if not fresh:
                raise NotUnderstood("the listing goes in circles: a page brought no new job")
            seen |= fresh
            cursor = page.next_cursor

    def get_job(self, sandbox: str, job_id: str) -> Job:
        """One job. Raises NotFound."""
        return self._job(self._call("GET", self._job_url(job_id), sandbox))

    def create_job(self, sandbox: str, request: CreateExportJob, *, request_id: str) -> Job:
        """Creates a job, sending `request_id` as `x-request-id`.

        Raises RetryLater only when surely no job was created, and OutcomeUnknown when one may
        have been: the service has no idempotency key, so this call is never repeated blindly.
        """
        answer = self._call(
            "POST", self._jobs_url, sandbox, json_body=request.to_wire(), request_id=request_id
        )
        try:
            return self._job(answer)
        except NotUnderstood as error:
            raise OutcomeUnknown(str(error)) from None

    def cancel_job(self, sandbox: str, job_id: str) -> None:
        """Marks a job for cancelling. Whatever body comes with success, or none, is fine."""
        self._call("DELETE", self._job_url(job_id), sandbox)

    def _job_url(self, job_id: str) -> str:
        if job_id in {".", ".."}:
            raise NotFound(f"there is no job {job_id!r}")
        return f"{self._jobs_url}/{quote(job_id, safe='')}"

    def _call(
        self,
        method: str,
        url: str,
        sandbox: str,
        *,
        params: dict[str, str] | None = None,
        json_body: Any = None,
        request_id: str | None = None,
    ) -> Answer:
        """A successful answer; a token that was refused is replaced once."""
        credentials = self._credentials()
        headers = {
            "Accept": "application/json",
            "x-api-key": credentials.client_id,
            "x-gw-ims-org-id": credentials.org_id,
            "x-sandbox-name": sandbox,
        }
        if request_id is not None:
            headers["x-request-id"] = request_id
        for last in (False, True):
            token = self._tokens.get()
            answer = self._transport.send(
                method, url, token=token, headers=headers, params=params, json_body=json_body
            )
            if answer.status != 401 or last:
                break
            self._tokens.forget(token)
        if answer.status in {200, 201, 204}:
            return answer
        raise self._failure(method, answer)

    def _failure(self, method: str, answer: Answer) -> Exception:
        said = f"HTTP {answer.status}: {self._excerpt(answer)}"
        if method == "POST" and answer.status >= 500:  # 503, too, may come after the effect
            return OutcomeUnknown(f"the service failed while creating ({said})")
        if answer.status in TRY_LATER or answer.status in {408, 425} or answer.status >= 500:
            return RetryLater(f"try later ({said})", retry_after_s=answer.retry_after_s)
        match answer.status:
            case 401:
                return BadCredentials(f"a fresh token is refused ({said}); check the secret")
            case 403:
                return Forbidden(f"not allowed ({said}); check API key, organisation, permissions")
            case 404:
                return NotFound(f"no such job ({said})")
            case status if 400 <= status < 500:
                return Refused(f"the service refuses this ({said})")
        return NotUnderstood(f"an answer without a meaning here ({said})")

    def _job(self, answer: Answer) -> Job:
        try:
            return Job.model_validate(answer.body)
        except (ValidationError, RecursionError):
            raise self._not_understood(answer, "no job") from None

    def _not_understood(self, answer: Answer, what: str) -> NotUnderstood:
        return NotUnderstood(f"HTTP {answer.status} holds {what}: {self._excerpt(answer)}")

    def _excerpt(self, answer: Answer) -> str:
        """The start of the body, without anything that is, or looks like, a secret."""
        text = answer.text
        for secret in self._tokens.secrets():
            text = text.replace(secret, "[removed]")
        return _SECRETS.sub("[removed]", " ".join(text.split()))[:300] or "(no body)"

    def _next_cursor(self, link: str | None) -> str | None:
        """The cursor that `link.next` holds. Links that lead to another host are refused."""
        if not link or not link.strip():
            return None
        try:
            target = urlsplit(urljoin(self._jobs_url, link.strip()))
            home = urlsplit(self._jobs_url)
            same_host = (target.scheme, target.netloc) == (home.scheme, home.netloc)
        except ValueError:
            same_host = False
        if not same_host:
            raise NotUnderstood("the listing's next link leads to another host; it is not followed")
        offsets = parse_qs(target.query).get("offset", [])
        if len(offsets) != 1:
            raise NotUnderstood("the listing's next link has no single offset")
        return offsets[0]
