"""Settles attempts: finds the job of a create call whose response was lost, or that it has none.

Only the sweep looks for jobs, because it has the listing and everything that is unfinished.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from export_jobs.events import endings
from export_jobs.model import matching
from export_jobs.model.limits import HOLD_FIRST_MS, LISTINGS_APART_MS, OUTCOME_KNOWN_WITHIN_MS
from export_jobs.model.matching import Candidate, Match, Matches
from export_jobs.model.ports import StoreUnavailable, SweepStore
from export_jobs.model.records import (
    Attempt,
    Gate,
    Hold,
    JobRecord,
    OutboxItem,
    RequestRecord,
    SandboxRecord,
    Ticket,
    as_written,
    ticket_of,
)
from export_jobs.model.steps import GateChange, SlotChange, Step
from export_jobs.monitor import coverage
from export_jobs.monitor.decide import YOUNG_MS
from export_jobs.monitor.observe import LookUp, Observation
from export_jobs.monitor.policy import MonitorPolicy

if TYPE_CHECKING:
    from export_jobs.contract import Job

logger = logging.getLogger(__name__)

MAX_LOOKUPS = 20
"""Jobs looked up in one sweep because the listing shows too little of them."""
MAX_ROUNDS = 3
MAX_FORMER = 200
"""Former attempts in a gate: each has about 500 bytes, and the item at most 400 KB."""


@dataclass
class Settled:
    """The result. `jobs` are the new records of the jobs that were linked."""

    gate: Gate
    """The gate after settling."""
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    undecided: frozenset[str] = frozenset()
    """Jobs left for the next sweep: it is too early to decide whose they are."""
    tickets: list[Ticket] = field(default_factory=list)
    """The tickets of requests that wait again."""
    outbox: list[OutboxItem] = field(default_factory=list)
    """The final events of requests, for us to publish."""
    duplicates: int = 0
    problem: str | None = None

    def note(self, step: Step) -> None:
        for record in step.jobs:
            self.jobs[record.job_id] = as_written(record)

    def free(self, attempt: Attempt) -> None:
        others = {k: slot for k, slot in self.gate.slots.items() if k != attempt.request_key}
        self.gate = replace(self.gate, slots=others)


class AttemptSettler:
    """Settles the attempts of a sandbox by what a sweep has observed."""

    def __init__(
        self,
        store: SweepStore,
        *,
        policy: MonitorPolicy,
        look_up: Callable[[str, str], LookUp],
    ) -> None:
        self._store = store
        self._policy = policy
        self._look_up = look_up

    def settle(
        self,
        known: SandboxRecord,
        seen: Observation,
        *,
        began: int,
        now: int,
        out_of_time: Callable[[], bool],
    ) -> Settled:
        """`began` is when the listing was started. Once out of time, no more jobs are looked up."""
        gate = known.gate
        settled = Settled(gate=gate)
        if not (gate.unsettled or gate.former):
            return settled
        candidates = self._candidates(known, seen)
        look_up = _LookUps(self._look_up, gate.sandbox, seen, out_of_time)
        try:
            matched, open_ = self._link_found(known, candidates, settled, look_up, now=now)
            free = {i: c for i, c in candidates.items() if i not in settled.undecided}
            late = look_up.match(gate.former.values(), free, echoes=gate.echoes, now=now)
            settled.undecided |= late.undecided
            for found in late.found:
                self._link_former(found, known, settled, now=now)
            for attempt in gate.unsettled:
                if attempt.request_id not in matched:
                    complete = attempt.request_id not in open_ and seen.complete_since(
                        matching.created_within(attempt)[0]
                    )
                    self._consider_giving_up(
                        attempt, known, settled, complete=complete, began=began, now=now
                    )
        except StoreUnavailable as error:
            settled.problem = f"can't settle attempts: {error}"
            settled.undecided |= candidates.keys() - settled.jobs.keys()
        return settled

    def _link_found(
        self,
        known: SandboxRecord,
        candidates: dict[str, Candidate],
        settled: Settled,
        look_up: _LookUps,
        *,
        now: int,
    ) -> tuple[set[str], set[str]]:
        """Links the jobs that are found; repeats without a job that turns out to be on record.

        Returns the request ids of the attempts that are settled, and of those that can't be settled
        yet.
        """
        matched: set[str] = set()
        for _ in range(MAX_ROUNDS):
            wanted = [a for a in known.gate.unsettled if a.request_id not in matched]
            matches = look_up.match(wanted, candidates, echoes=known.gate.echoes, now=now)
            settled.undecided = frozenset(matches.undecided)
            again: set[str] = set()
            for found in matches.found:
                done = self._link(found, known, settled, now=now)
                (matched if done else again).add(found.attempt.request_id)
                candidates.pop(found.job.id, None)
            if not again:
                break
        return matched, matches.open | again

    # -- finding -----------------------------------------------------------------------------------

    def _candidates(self, known: SandboxRecord, seen: Observation) -> dict[str, Candidate]:
        """Jobs without a record; a recorded job is older than any attempt that is unsettled now."""
        candidates = {}
        for job in seen.jobs.values():
            if job.id in known.open_jobs:
                continue
            if job.is_final and known.state and not coverage.is_unseen(job, known.state):
                continue
            candidates[job.id] = _candidate(job.whole, seen)
        return candidates

    # -- linking -----------------------------------------------------------------------------------

    def _link(self, found: Match, known: SandboxRecord, settled: Settled, *, now: int) -> bool:
        """Links a job to its attempt's request. Returns False if it belongs to another request."""
        attempt = found.attempt
        slot_change = SlotChange("link", replace(attempt, job_id=found.job.id, linked_at=now))
        for _ in range(MAX_ROUNDS):
            record = self._of_attempt(attempt)
            if record is None:  # the run with the response was faster; at most the slot is left
                self._commit(known, Step(slot_change=SlotChange("drop", attempt)))
                settled.free(attempt)
                return True
            step = endings.created(
                record,
                found.job,
                slot_change=slot_change,
                linked_by=found.linked_by,
                leased=False,
                policy=self._policy.events,
                now=now,
            )
            hold = _lifted(known.gate.hold, now)
            if self._commit(known, step, GateChange(hold=hold)):
                settled.note(step)
                settled.free(attempt)
                settled.gate = replace(settled.gate, hold=hold or settled.gate.hold)
                return True
            if self._is_recorded(found.job, known):
                return False
        return True  # the next sweep settles it

    def _link_former(
        self, found: Match, known: SandboxRecord, settled: Settled, *, now: int
    ) -> None:
        """Links a job that appears after its attempt was given up, or records it as a duplicate."""
        attempt, job = found.attempt, found.job
        if self._is_recorded(job, known):
            return
        record = self._store.requests([attempt.request_key]).get(attempt.request_key)
        if record and record.status == "WAITING" and record.try_number == attempt.try_number:
            step = endings.created(
                record,
                job,
                slot_change=None,
                linked_by=found.linked_by,
                leased=False,
                policy=self._policy.events,
                now=now,
            )
            if self._commit(known, replace(step, forget=attempt.request_id)):
                settled.note(step)
                return
            record = self._store.requests([attempt.request_key]).get(attempt.request_key)
        duplicate = endings.found_late(
            job,
            known.gate.sandbox,
            attempt.request_key,
            record,
            linked_by=found.linked_by,
            try_number=attempt.try_number,
            now=now,
        )
        step = Step(jobs=(duplicate,), forget=attempt.request_id)
        if self._commit(known, step):
            settled.note(step)
            if duplicate.duplicate_of:
                settled.duplicates += 1
                logger.error(
                    "job %s is a second job of request %s, found late",
                    job.id,
                    attempt.request_key,
                )

    def _is_recorded(self, job: Job, known: SandboxRecord) -> bool:
        sandbox = known.gate.sandbox
        return self._store.job(sandbox, job.id, job.creation_time or 0) is not None

    # -- giving up ---------------------------------------------------------------------------------

    def _consider_giving_up(
        self,
        attempt: Attempt,
        known: SandboxRecord,
        settled: Settled,
        *,
        complete: bool,
        began: int,
        now: int,
    ) -> None:
        """Gives up if two listings, some time apart, would show the job and don't: there is none.

        `complete` means that this listing would show the job, whenever it was created.
        """
        conclusive = (
            complete and attempt.rule == matching.RULE and began >= matching.gives_up_from(attempt)
        )
        if conclusive and not attempt.missed_at:
            self._commit(
                known, Step(slot_change=SlotChange("miss", replace(attempt, missed_at=began)))
            )
        elif conclusive and began >= attempt.missed_at + LISTINGS_APART_MS:
            self._give_up(attempt, known, settled, now=now)
        elif now >= attempt.noted_at + OUTCOME_KNOWN_WITHIN_MS:
            self._end_unknown(attempt, known, settled, now=now)

    def _give_up(
        self, attempt: Attempt, known: SandboxRecord, settled: Settled, *, now: int
    ) -> None:
        """Queues the request again, in last position, or ends it if it was cancelled meanwhile."""
        record = self._of_attempt(attempt)
        slot_change = _given_up(attempt, known, now)
        if record is None:
            self._commit(known, Step(slot_change=SlotChange("drop", attempt)))
        elif record.cancelled_by:
            ended = endings.cancelled(record, policy=self._policy.events, now=now)
            self._commit_end(ended, slot_change, known, settled)
        else:
            waiting = replace(record, status="WAITING", request_id=None, touched_at=now)
            ticket = ticket_of(waiting, turn=now)
            if self._commit(
                known, Step(requests=(waiting,), add_tickets=(ticket,), slot_change=slot_change)
            ):
                settled.tickets.append(ticket)
        settled.free(attempt)

    def _end_unknown(
        self, attempt: Attempt, known: SandboxRecord, settled: Settled, *, now: int
    ) -> None:
        record = self._of_attempt(attempt)
        settled.free(attempt)
        if record is None:
            self._commit(known, Step(slot_change=SlotChange("drop", attempt)))
            return
        ended = endings.rejected(
            record,
            "OUTCOME_UNKNOWN",
            "its create call got no response, and for six hours no listing has shown whether its "
            "job exists; it is not sent again: look for the job in Adobe's console",
            policy=self._policy.events,
            now=now,
        )
        self._commit_end(ended, _given_up(attempt, known, now), known, settled)

    def _of_attempt(self, attempt: Attempt) -> RequestRecord | None:
        """The request's record, if the attempt is still its current one."""
        record = self._store.requests([attempt.request_key]).get(attempt.request_key)
        current = record and record.request_id == attempt.request_id and not record.has_ended
        return record if current else None

    def _commit_end(
        self, ended: endings.Ended, slot_change: SlotChange, known: SandboxRecord, settled: Settled
    ) -> None:
        if self._commit(known, ended.step(slot_change=slot_change)):
            settled.outbox.append(as_written(ended.item))

    def _commit(self, known: SandboxRecord, step: Step, gate: GateChange | None = None) -> bool:
        return bool(self._store.commit(known.gate.sandbox, [step], gate))


def _lifted(hold: Hold, now: int) -> Hold | None:
    """Lifts a first, short hold, because the job that was found shows that the service works.

    Keeps (None) a hold that the service asked for, and one after several failures.
    """
    short = hold.length_ms == HOLD_FIRST_MS and hold.until - now <= 2 * HOLD_FIRST_MS
    return Hold() if short else None


def _given_up(attempt: Attempt, known: SandboxRecord, now: int) -> SlotChange:
    """Keeps it as a former attempt, unless the gate has so many that it could outgrow its item."""
    full = len(known.gate.former) >= MAX_FORMER
    return SlotChange("drop" if full else "give up", replace(attempt, missed_at=now))


@dataclass
class _LookUps:
    """Matches attempts with jobs. Looks up, once a sweep, jobs that the listing shows in part."""

    look_up: Callable[[str, str], LookUp]
    sandbox: str
    seen: Observation
    out_of_time: Callable[[], bool]
    tried: set[str] = field(default_factory=set)

    def match(
        self,
        attempts: Iterable[Attempt],
        candidates: dict[str, Candidate],
        *,
        echoes: bool | None,
        now: int,
    ) -> Matches:
        wanted = list(attempts)
        while True:
            matches = matching.match(wanted, candidates.values(), echoes=echoes, now=now)
            todo = sorted(matches.to_look_up - self.tried)[: MAX_LOOKUPS - len(self.tried)]
            if not todo:
                return matches
            for job_id in todo:
                if self.out_of_time():
                    return matches
                self.tried.add(job_id)
                result = self.look_up(self.sandbox, job_id)
                self.seen.add_look_up(result)
                if result.job:
                    candidates[job_id] = _candidate(result.job, self.seen)
                elif result.is_missing and now - candidates[job_id].created_at >= YOUNG_MS:
                    del candidates[job_id]  # a younger one may not be found by its id yet


def _candidate(job: Job, seen: Observation) -> Candidate:
    created_at = job.creation_time or seen.created_at.get(job.id, 0)
    created_until = job.creation_time or seen.created_until.get(job.id, 0)
    return Candidate(job, created_at, created_until, whole=job.id in seen.looked_up)


def oldest_unsettled(attempts: Iterable[Attempt]) -> int | None:
    """The creation time down to which a listing must be read to settle the attempts."""
    return min((matching.created_within(attempt)[0] for attempt in attempts), default=None)
