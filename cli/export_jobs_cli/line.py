"""The waiting requests of a sandbox, and what each of them waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from export_jobs.aws.clock import now_ms
from export_jobs.contract.times import rfc3339
from export_jobs.creator.message import cancel_asked_for
from export_jobs.model.capacity import admissible, open_exports
from export_jobs.model.limits import UNSEEN_MS
from export_jobs.model.records import (
    Attempt,
    JobRecord,
    RequestRecord,
    SandboxRecord,
    Ticket,
)

from export_jobs_cli import output
from export_jobs_cli.stack import DeployedSystem

InLine = Literal["TURN", "CAPACITY", "HOLD", "PROBE"]
"""What all requests in line wait for."""
What = InLine | Literal["RETRY", "OUTCOME", "REQUEST", "JOB"]


@dataclass(frozen=True)
class Wait:
    """What a request waits for; times are epoch milliseconds.

    TURN: the creator's next run, or the requests before it in line. CAPACITY: an open export has
    to end. HOLD: the service failed or throttled, and the line is held `until` a time. PROBE: that
    time is over, and one request is tried. RETRY: the delay before a further try, `until` a time.
    OUTCOME: its create call was sent, or about to be sent,
    at `since`, and whether it created a job is unknown. REQUEST, JOB: a cancel request waits for
    what it cancels; a request cancelled before it arrived waits for its message, `until` a time.
    """

    what: What
    until: int | None = None
    since: int | None = None
    request_key: str | None = None
    job_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "until": rfc3339(self.until),
            "since": rfc3339(self.since),
            "requestKey": self.request_key,
            "jobId": self.job_id,
        }


class WaitingLine:
    """A sandbox's waiting requests and open exports at one moment."""

    def __init__(
        self, system: DeployedSystem, sandbox: str, known: SandboxRecord | None = None
    ) -> None:
        """Reads the sandbox, unless it is `known`. Raises StoreUnavailable."""
        self.sandbox = sandbox
        self.max_open = system.creator.max_open_exports
        self.delays = system.creator.delay_policy
        self._now = now_ms()
        self._known = known or system.store.load(sandbox)
        self.open_exports = open_exports(
            self._known.open_jobs,
            self._known.gate,
            delays=self.delays,
            now=self._now,
        )
        self.cancels = [t for t in self._known.tickets if t.action == "cancel"]
        self.creates = [t for t in self._known.tickets if t.action == "create" and not t.delayed]
        self.delayed = [t for t in self._known.tickets if t.delayed]
        """Those whose delay before a further try runs, the first to be tried first."""
        self._places = {t.request_key: n for n, t in enumerate(self.creates, start=1)}

    @property
    def held_until(self) -> int | None:
        """None once the time is over, although the hold stays until a created job lifts it."""
        hold = self._known.gate.hold
        return hold.until if hold.length_ms and self._now < hold.until else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Create calls whose outcome is unknown, oldest first."""
        return self._known.gate.unsettled

    @property
    def jobs_of_requests(self) -> list[JobRecord]:
        """The open jobs that requests have created, oldest first."""
        of_requests = [j for j in self._known.open_jobs.values() if j.request_key and not j.final]
        return sorted(of_requests, key=lambda job: (job.creation_time, job.job_id))

    def place(self, request_key: str) -> int | None:
        """A request's place in line, from 1; None if it has none, like every cancel request."""
        return self._places.get(request_key)

    def place_in_words(self, request_key: str) -> str:
        place = self.place(request_key)
        return f"place {place} of {len(self.creates)}" if place else ""

    def wait_of(self, record: RequestRecord) -> Wait | None:
        """What a request of this sandbox waits for; None if it has ended."""
        match record.status:
            case "WAITING" if record.action == "cancel":
                job_id, request_key = cancel_asked_for(record.body) if record.body else (None, None)
                what: What = "JOB" if job_id else "REQUEST"
                return Wait(what, request_key=request_key, job_id=job_id)
            case "WAITING" if any(t.request_key == record.request_key for t in self.delayed):
                return Wait("RETRY", until=record.retry_at)
            case "WAITING":
                return self.wait_in_line()
            case "CREATING":
                slot = self._known.gate.slots.get(record.request_key)
                return Wait("OUTCOME", since=slot.noted_at if slot else record.touched_at)
            case "CANCEL_WANTED":
                until = record.touched_at + UNSEEN_MS
                return Wait("REQUEST", until=until, request_key=record.request_key)
            case _:
                return None

    def wait_in_line(self) -> Wait:
        """What all requests in line wait for."""
        gate = self._known.gate
        if self.held_until:
            return Wait("HOLD", until=self.held_until)
        if self.open_exports >= self.max_open:
            return Wait("CAPACITY")
        free = admissible(gate, open_now=self.open_exports, max_open=self.max_open, now=self._now)
        return Wait("TURN" if free and not gate.hold.length_ms else "PROBE")

    def in_words(self, wait: Wait) -> str:
        """Describes what a request waits for."""
        match wait.what:
            case "OUTCOME":
                return (
                    f"the outcome of its create call of {output.moment(wait.since)} UTC; sweeps "
                    "search for its job"
                )
            case "RETRY":
                return f"its next try, not before {output.moment(wait.until)} UTC"
            case "JOB":
                return f"job {wait.job_id}, to cancel it"
            case "REQUEST" if wait.until:
                until = f"{output.moment(wait.until)} UTC"
                return f"its own message, which is cancelled if it arrives by {until}"
            case "REQUEST":
                return f"request {wait.request_key}, to cancel it or its job"
            case in_line:
                return self._in_line_in_words(in_line, until=wait.until)

    def _in_line_in_words(self, what: InLine, *, until: int | None) -> str:
        match what:
            case "TURN":
                return "the creator's next run, which tries the first in line"
            case "CAPACITY":
                return f"capacity: {self.open_exports} of {self.max_open} exports are open"
            case "HOLD":
                return (
                    "the service, which failed or throttled calls: the line is held until "
                    f"{output.moment(until)} UTC"
                )
            case "PROBE":
                return "the service, which failed or throttled calls: one request is tried first"


def since_of(record: RequestRecord) -> int:
    """Since when a request has its state; if it waits for its first job, since it was sent."""
    waits = record.status == "WAITING" and record.try_number == 1
    return record.sent_at if waits and record.sent_at else record.touched_at


def ticket_as_json(ticket: Ticket, place: int | None) -> dict[str, Any]:
    """`since` is null before a further try is due; then it is when that was due."""
    later = ticket.delayed or ticket.turn > ticket.sent_at
    return {
        "requestKey": ticket.request_key,
        "sandboxName": ticket.sandbox,
        "status": "WAITING",
        "action": ticket.action,
        "place": place,
        "since": None if ticket.delayed else rfc3339(ticket.sent_at),
        "notBefore": rfc3339(ticket.turn) if later else None,
        "deadline": rfc3339(ticket.deadline_ms),
        "waitsForRetry": ticket.delayed,
    }
