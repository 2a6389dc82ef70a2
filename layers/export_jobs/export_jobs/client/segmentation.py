"""The four calls of `/export/jobs`, one of schedules, and two of access control.

Facts: `docs/contract.md`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

from pydantic import ValidationError

from export_jobs.client.credentials import Credentials
from export_jobs.client.tokens import Authorization, Authorizer, ImsTokens
from export_jobs.client.transport import Answer, Transport
from export_jobs.contract import JobPage
from export_jobs.contract.errors import (
    BadCredentials,
    Forbidden,
    NotFound,
    NotUnderstood,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs.contract.text import one_line

if TYPE_CHECKING:
    from export_jobs.contract import Job
    from export_jobs.contract.schedule import Schedule, ScheduleList, SchedulePage

REFUSED_FOR_GOOD = frozenset({400, 404, 405, 413, 415, 422})
"""Responses to a create call after which no job exists, and none ever will for the same request."""
_ACCESS_CONTROL = "/data/foundation/access-control/acl"
"""Adobe's Access Control API, on the same host."""
SCHEDULES_PER_PAGE = 100
"""The service's own default."""
MAX_SCHEDULE_PAGES = 100
"""More pages of schedules than this are a listing that does not end."""
_SECRETS = re.compile(r"(?i)(bearer\s+)?[A-Za-z0-9_\-]{12,}\.[A-Za-z0-9_\-.]{12,}")
"""Anything that looks like a token (JWT) in a text that will be shown."""


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`base_url` is the service's root, `https://platform.adobe.io/data/core/ups`.

        `credentials` reads the secret, which happens seldom (see Authorizer); it may raise a
        SegmentationError. `clock` returns seconds.
        """
        self._jobs_url = base_url.rstrip("/") + "/export/jobs"
        self._schedules_url = base_url.rstrip("/") + "/config/schedules"
        self._acl_url = urljoin(base_url, _ACCESS_CONTROL)
        self._authorizer = Authorizer(credentials, tokens, clock=clock)
        self._tokens = tokens
        self._transport = transport

    def prepare(self) -> None:
        """Gets a token ready, so that the next call need not fetch one.

        Raises what `Authorizer.get` raises.
        """
        self._authorizer.get()

    def org_id(self) -> str:
        """The organisation that the credential belongs to."""
        return self._authorizer.credentials().org_id

    def list_jobs(
        self, sandbox: str, *, limit: int, cursor: str | None = None, status: str | None = None
    ) -> JobPage:
        """One page of jobs, newest first; `page.next_cursor` is the cursor of the next page.

        `limit` is always sent: without any parameter, the service lists all jobs.
        """
        params = {"limit": str(limit)}
        if cursor is not None:
            params["offset"] = cursor
        if status is not None:
            params["status"] = status
        answer = self._call("GET", self._jobs_url, sandbox, params=params)
        try:
            page = JobPage.from_answer(answer.body)
        except (ValueError, RecursionError):
            raise self._not_understood(answer, "no page of jobs") from None
        next_cursor = self._next_cursor(page.next_link)
        if next_cursor is not None and next_cursor == cursor:
            raise NotUnderstood("the listing's next page is the same page again")
        return page.continuing_at(next_cursor)

    def iter_pages(
        self, sandbox: str, *, limit: int, status: str | None = None
    ) -> Iterator[JobPage]:
        """All pages, each fetched on demand. Raises NotUnderstood if a page has no new job."""
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            page = self.list_jobs(sandbox, limit=limit, cursor=cursor, status=status)
            fresh = {job.id for job in page.records} - seen
            yield page
            if page.next_cursor is None:
                return
            if not fresh:
                raise NotUnderstood("the listing repeats itself: a page has no new job")
            seen |= fresh
            cursor = page.next_cursor

    def get_job(self, sandbox: str, job_id: str) -> Job:
        """One job. Raises NotFound."""
        return self._job(self._call("GET", self._job_url(job_id), sandbox, failure=self._no_job))

    def create_job(
        self,
        sandbox: str,
        body: Mapping[str, Any],
        *,
        request_id: str,
        may_send: Callable[[], bool],
    ) -> Job:
        """Creates a job from a body in its wire form, with `request_id` as `x-request-id`.

        The service has no idempotency key, so the call is repeated only if it certainly had no
        effect: no connection was made, or the token was refused. `may_send` is called each time
        immediately before the first byte is sent; if it returns False, nothing is sent.

        Raises OutcomeUnknown if a job may have been created. After any other error, none was:
        Refused if none ever will be; RetryLater, BadCredentials, Forbidden and NotUnderstood (of
        IMS) if one may be later.
        """
        answer = self._call(
            "POST",
            self._jobs_url,
            sandbox,
            json_body=body,
            creates=True,
            request_id=request_id,
            may_send=may_send,
            failure=self._not_created,
        )
        try:
            return self._job(answer)
        except NotUnderstood as error:
            raise OutcomeUnknown(str(error), retry_after_s=error.retry_after_s) from None

    def cancel_job(self, sandbox: str, job_id: str) -> None:
        """Marks a job for cancelling. Any 2xx is success, whatever its body.

        Raises NotFound.
        """
        self._call("DELETE", self._job_url(job_id), sandbox, failure=self._no_job)

    def list_schedules(self, sandbox: str) -> ScheduleList:
        """All schedules of a sandbox, each once, in the service's order.

        An empty page is the last one. Raises NotUnderstood if a page repeats what earlier ones had,
        or after MAX_SCHEDULE_PAGES.
        """
        # Only the command lists schedules, so the functions' cold start does without the import.
        from export_jobs.contract.schedule import ScheduleList  # noqa: PLC0415

        found: dict[object, Schedule] = {}
        unreadable, start = 0, "0"
        for _ in range(MAX_SCHEDULE_PAGES):
            page = self._schedule_page(sandbox, start)
            known = len(found)
            for schedule in page.schedules:
                found.setdefault(schedule.id or object(), schedule)
            unreadable += page.unreadable
            if page.next_start is None or not (page.schedules or page.unreadable):
                return ScheduleList(tuple(found.values()), page.total, unreadable)
            if len(found) == known and not page.unreadable:
                raise NotUnderstood("the schedules repeat themselves: a page has no new one")
            start = page.next_start
        raise NotUnderstood(f"the schedules have not ended after {MAX_SCHEDULE_PAGES} pages")

    def _schedule_page(self, sandbox: str, start: str) -> SchedulePage:
        from export_jobs.contract.schedule import SchedulePage  # noqa: PLC0415  see above

        params = {"start": start, "limit": str(SCHEDULES_PER_PAGE)}
        answer = self._call("GET", self._schedules_url, sandbox, params=params)
        try:
            return SchedulePage.from_answer(answer.body)
        except (ValidationError, RecursionError):
            raise self._not_understood(answer, "no page of schedules") from None

    def has_permission(self, sandbox: str, permission: str) -> bool:
        """Whether the credential has a permission of Adobe's in a sandbox, by access control."""
        url, name = f"{self._acl_url}/effective-policies", f"/permissions/{permission}"
        answer = self._call("POST", url, sandbox, json_body=[name])
        policies = answer.body.get("policies") if isinstance(answer.body, dict) else None
        if not isinstance(policies, dict):
            raise self._not_understood(answer, "no policies")
        return any(key.strip("/") == name.strip("/") for key, held in policies.items() if held)

    def knows_permission(self, sandbox: str, permission: str) -> bool:
        """Whether access control has a permission of this name at all."""
        answer = self._call("GET", f"{self._acl_url}/reference", sandbox)
        known = answer.body.get("permissions") if isinstance(answer.body, dict) else None
        if not isinstance(known, dict):
            raise self._not_understood(answer, "no permissions")
        return permission in known

    def _job_url(self, job_id: str) -> str:
        if job_id in {"", ".", ".."}:
            raise NotFound(f"there is no job {job_id!r}")
        return f"{self._jobs_url}/{quote(job_id, safe='')}"

    def _call(
        self,
        method: str,
        url: str,
        sandbox: str,
        *,
        params: dict[str, str] | None = None,
        json_body: Mapping[str, Any] | Sequence[str] | None = None,
        creates: bool = False,
        request_id: str | None = None,
        may_send: Callable[[], bool] = lambda: True,
        failure: Callable[[Answer], SegmentationError] | None = None,
    ) -> Answer:
        """Returns a successful response; replaces a refused token or credential once.

        `failure` makes the error of any other response. A refused key (403) is tried again only with
        another credential.
        """

        def send(authorization: Authorization) -> Answer:
            return self._transport.send(
                method,
                url,
                token=authorization.token,
                headers=_headers(authorization.credentials, sandbox, request_id),
                params=params,
                json_body=json_body,
                creates=creates,
                may_send=may_send,
            )

        first = self._authorizer.get()
        answer = send(first)
        if answer.status in {401, 403}:
            self._authorizer.refused(first, token=answer.status == 401)
            second = self._authorizer.get()
            if answer.status == 401 or second != first:
                answer = send(second)
        if answer.succeeded:
            return answer
        raise (failure or self._failure)(answer)

    def _failure(self, answer: Answer) -> SegmentationError:
        """The error of an unsuccessful response to a call that can be repeated."""
        summary = self._summary(answer)
        match answer.status:
            case 401:
                return BadCredentials(f"a fresh token is refused ({summary}); check the secret")
            case 403:
                return Forbidden(
                    f"not allowed ({summary}); check API key, organisation, permissions"
                )
            case _ if answer.asks_for_patience:
                return RetryLater(f"try later ({summary})", retry_after_s=answer.retry_after_s)
            case status if 400 <= status < 500:
                return Refused(f"the service refuses the request ({summary})")
        return NotUnderstood(f"unexpected response ({summary})")

    def _no_job(self, answer: Answer) -> SegmentationError:
        """The same for a call that names a job."""
        if answer.status == 404:
            return NotFound(f"no such job ({self._summary(answer)})")
        return self._failure(answer)

    def _not_created(self, answer: Answer) -> SegmentationError:
        """The same for a create call: unless the response rules it out, the job may exist.

        Even a 503 may come from a gateway, after the job was created.
        """
        summary = self._summary(answer)
        if answer.status in {401, 403, 429}:
            return self._failure(answer)
        if answer.status == 404:
            return Refused(
                f"something in the request was not found ({summary}); check its dataset, segments "
                "and other ids"
            )
        if answer.status in REFUSED_FOR_GOOD:
            return Refused(f"the service refuses the request ({summary})")
        return OutcomeUnknown(
            f"the response does not show whether the job was created ({summary})",
            retry_after_s=answer.retry_after_s,
        )

    def _job(self, answer: Answer) -> Job:
        from export_jobs.contract import Job  # noqa: PLC0415  a quiet sweep reads no whole job

        try:
            return Job.model_validate(answer.body)
        except (ValidationError, RecursionError):
            raise self._not_understood(answer, "no job") from None

    def _not_understood(self, answer: Answer, what: str) -> NotUnderstood:
        return NotUnderstood(
            f"the response contains {what} ({self._summary(answer)})",
            retry_after_s=answer.retry_after_s,
        )

    def _summary(self, answer: Answer) -> str:
        """Status and start of the body, without anything that is, or looks like, a secret."""
        text = answer.text
        for secret in self._tokens.secrets():
            text = text.replace(secret, "[removed]")
            # The end of the text, or the service, may have cut it off.
            text = re.sub(re.escape(secret[:12]) + r"[\w.~+/=-]*", "[removed]", text)
        excerpt = _SECRETS.sub("[removed]", one_line(text))[:300] or "(no body)"
        return f"HTTP {answer.status}: {excerpt}"

    def _next_cursor(self, link: str | None) -> str | None:
        """The cursor in `link.next`. Links to another host are refused."""
        if not link or not link.strip():
            return None
        try:
            target = urlsplit(urljoin(self._jobs_url, link.strip()))
            home = urlsplit(self._jobs_url)
            same_host = (target.scheme, target.netloc) == (home.scheme, home.netloc)
        except ValueError:
            same_host = False
        if not same_host:
            raise NotUnderstood("the listing's next link is to another host; it is not followed")
        offsets = parse_qs(target.query).get("offset", [])
        if len(offsets) != 1:
            raise NotUnderstood("the listing's next link has no single offset")
        return offsets[0]


def _headers(credentials: Credentials, sandbox: str, request_id: str | None) -> Mapping[str, str]:
    headers = {
        "Accept": "application/json",
        "x-api-key": credentials.client_id,
        "x-gw-ims-org-id": credentials.org_id,
        "x-sandbox-name": sandbox,
    }
    return headers if request_id is None else {**headers, "x-request-id": request_id}
