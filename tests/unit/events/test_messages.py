"""Messages for people, as snapshots: set EXPORT_JOBS_UPDATE_SNAPSHOTS=1 to update them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.contract import FieldProblem, Job
from export_jobs.events import build as events
from export_jobs.events.endings import CANCELLED_BEFORE
from export_jobs.events.messages import chat, email, subject
from export_jobs.events.wording import MAX_SUBJECT, span
from export_jobs.model.baselines import UNKNOWN, Comparison
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import Event, JobRecord, RequestRecord
from export_jobs.model.retry import RetryPolicy
from support.digests import full_digest, quiet_digest
from support.files import ROOT
from support.observed import observed
from support.one_of_each import MISSED, one_of_each, overdue

SNAPSHOTS = ROOT / "tests" / "data" / "messages"
CREATED = 1_700_000_000_000
NOW = CREATED + 47 * 60_000
USUAL = Comparison(usual_duration_ms=12 * 60_000, usual_profiles=61_230, runs=27)
ORG = "1BD6382559DF0C130A49422D@AdobeOrg"
STACK = "export-jobs"
CANCELS = {"CANCELLING", "ALREADY_FINAL", "NOT_FOUND"}
BODY = {
    "id": 4711,
    "creationTime": CREATED,
    "updateTime": NOW,
    "imsOrgId": ORG,
    "destination": {
        "datasetId": "5bb4c46757920712f924a3eb",
        "batchId": "da5cfb4de32c4b93a09f7e37fa53ad52",
    },
}


def of_job(
    *,
    was: str | None = "PROCESSING",
    delays: int = 0,
    compared: Comparison = USUAL,
    **fields: Any,
) -> Event:
    """The event for a job in this state; `was` is the status on record before."""
    job = Job.model_validate({**BODY, **fields})
    before = None
    if was:
        before = JobRecord(
            "prod", job.id, CREATED, status=was, sequence=1, request_key="nightly-newsletter",
            correlation_id="campaign-42", dataset_id="5bb4c46757920712f924a3eb", delays=delays,
        )  # fmt: skip
    record = observed(job, before=before, comparison=compared, now=NOW)
    assert record
    return record.outbox[0].event


def ended(outcome: str, **fields: Any) -> RequestRecord:
    """The record of a request that has ended with this outcome."""
    known: dict[str, Any] = {"body_hash": "1:ab", "correlation_id": "campaign-42", **fields}
    return RequestRecord(
        "nightly-newsletter",
        "DONE",
        "prod",
        action="cancel" if outcome in CANCELS else "create",
        message_id="m",
        org_id=ORG,
        outcome=outcome,
        **known,
    )


def accepted(outcome: str, **fields: Any) -> Event:
    return events.accepted(ended(outcome, **fields), stack_id=STACK, now=NOW)


def rejected(outcome: str, reason: str, **fields: Any) -> Event:
    return events.rejected(ended(outcome, reason=reason, **fields), stack_id=STACK, now=NOW)


def invalid() -> Event:
    """Only what the message itself states is known: no sandbox."""
    problems = [
        FieldProblem(
            "job.filter.segmnets", "is not a field of the request; did you mean 'segments'?"
        ),
        FieldProblem("job.destination.datasetId", "is required"),
    ]
    record = ended("INVALID", reason="; ".join(map(str, problems)), body_hash=None)
    return events.rejected(
        replace(record, request_key="message!0a1b"),
        stack_id=STACK,
        now=NOW,
        named="nightly-newsletter",
        problems=problems,
    )


def late(*, by_usual: bool = False) -> Event:
    job = Job.model_validate({**BODY, "status": "PROCESSING"})
    record = JobRecord(
        "prod",
        job.id,
        CREATED,
        status="PROCESSING",
        sequence=2,
        dataset_id="5bb4c46757920712f924a3eb",
        delays=1,
    )
    return events.delayed(
        record,
        job,
        limit_ms=(36 if by_usual else 30) * 60_000,
        by_usual=by_usual,
        comparison=USUAL,
        stack_id=STACK,
        now=NOW,
    )


def vanished() -> Event:
    record = JobRecord(
        "prod",
        "4711",
        CREATED,
        status="PROCESSING",
        sequence=2,
        dataset_id="5bb4c46757920712f924a3eb",
    )
    return events.vanished(record, previous_status="PROCESSING", stack_id=STACK, now=NOW)


def not_tried_again() -> Event:
    """The end of a job whose request had tries left, but too little time."""
    job = Job.model_validate({**BODY, "status": "FAILED", "errors": [{"code": "7"}]})
    record = JobRecord("prod", job.id, CREATED, request_key="k", sequence=2, not_retried="EXPIRES")
    record = replace(record, try_number=2, final=True)
    return events.state_change(
        record, job, previous_status="NEW", comparison=UNKNOWN, stack_id=STACK, now=NOW
    )


def unusual() -> Iterator[tuple[str, Event]]:
    """Jobs that succeeded, and are far from usual."""

    def metrics(profiles: int) -> dict[str, Any]:
        return {"totalExportedProfileCounter": profiles}

    drop = replace(USUAL, anomalies=("VOLUME_DROP",), profiles_ratio=0.0163)
    yield "volume-drop", of_job(status="SUCCEEDED", metrics=metrics(1_000), compared=drop)
    third = replace(drop, new_usual=("VOLUME_DROP",))
    yield "volume-drop-third", of_job(status="SUCCEEDED", metrics=metrics(1_000), compared=third)
    yield "volume-drop-empty", of_job(status="SUCCEEDED", metrics=metrics(0), compared=drop)
    both = replace(USUAL, anomalies=("VOLUME_SPIKE", "SLOW"), duration_ratio=3.92)
    yield "spike-and-slow", of_job(status="SUCCEEDED", metrics=metrics(1_250_000), compared=both)
    yield "profiles-unknown", of_job(status="SUCCEEDED")


def every_kind() -> Iterator[tuple[str, Event]]:
    metrics = {"totalExportedProfileCounter": 58_112}
    error = {"code": "0100000003", "msg": "Error in Export Job", "callStack": "at com.adobe…"}
    yield "first-seen", of_job(was=None, status="NEW")
    yield "in-progress", of_job(was="NEW", status="PROCESSING")
    yield "succeeded", of_job(status="SUCCEEDED", metrics=metrics)
    yield "succeeded-late", of_job(status="SUCCEEDED", metrics=metrics, delays=1)
    yield "succeeded-with-errors", of_job(status="SUCCEEDED", metrics=metrics, errors=[error])
    yield "succeeded-empty", of_job(status="SUCCEEDED", metrics={"totalExportedProfileCounter": 0})
    yield "failed", of_job(status="FAILED", errors=[error, error, error])
    yield "failed-first-time", of_job(status="FAILED", compared=UNKNOWN, errors=[{"code": "7"}])
    yield "failed-tried-again", one_of_each()["failed, tried again"]
    yield "failed-not-tried-again", not_tried_again()
    yield "succeeded-at-the-second-try", one_of_each()["success at the second try"]
    yield "retried", one_of_each()["retried"]
    yield "cancelled", of_job(status="CANCELLED")
    yield from unusual()
    yield "vanished", vanished()
    yield "late", late()
    yield "late-by-usual", late(by_usual=True)
    yield "overdue", overdue(last_good_at=NOW - 33 * 3_600_000)
    failed = JobRecord(
        "prod", "4712", NOW - 3_600_000, status="FAILED", outcome="FAILED", final=True
    )
    few = replace(failed, job_id="4713", status="SUCCEEDED", outcome="SUCCEEDED")
    few = replace(few, profiles_exported=812, creation_time=NOW - 1_800_000)
    yield (
        "overdue-again",
        overdue(
            reason="TOO_FEW",
            jobs=[few, *(replace(failed, job_id=str(n)) for n in range(5))],
            unreadable=1,
            now=NOW + 3 * 3_600_000,
            expectation=replace(MISSED.expectation, min_profiles=1_000),
            missed_windows=3,
            overdue_since=NOW - 48 * 3_600_000,
        ),
    )
    fewer = replace(few, profiles_exported=41_000, usual_profiles=61_230)
    limited = replace(MISSED.expectation, min_profiles=1_000, max_drop=30)
    yield "overdue-by-usual", overdue(reason="TOO_FEW", jobs=[fewer], expectation=limited)
    for reason in ("STILL_RUNNING", "FAILED", "EMPTY"):
        yield f"overdue-{reason.lower()}", overdue(reason=reason, jobs=[failed])
    yield "overdue-resolved", one_of_each()["overdue resolved"]
    yield "bare", of_job(was=None, status="FAILED", destination=None, updateTime=None, errors=[])
    yield (
        "long-and-foreign",
        of_job(
            status="FAILED", errors=[{"code": "9", "msg": "プロファイルの書き込みに失敗 " * 200}]
        ),
    )
    yield (
        "accepted",
        accepted(
            "CREATED",
            job_id="4711",
            linked_by="answer",
            dataset_id="5bb4c46757920712f924a3eb",
        ),
    )
    yield "accepted-after-all", accepted("CREATED", job_id="4711", rejections=("e-1",))
    yield "cancelling", accepted("CANCELLING", job_id="4711")
    already = "the job has already ended: SUCCEEDED"
    yield "already-final", accepted("ALREADY_FINAL", job_id="4711", reason=already)
    yield "invalid", invalid()
    reused = "request key 'nightly-newsletter' was already used for another request"
    yield "key-reused", rejected("KEY_REUSED", reused)
    yield "refused", rejected("REFUSED", "the service refuses the request (HTTP 400: no)")
    yield (
        "expired",
        rejected("EXPIRED", "it was not carried out by its expiresAt, 2026-01-31T00:00:00.000Z"),
    )
    yield "not-found", rejected("NOT_FOUND", "no request 'x' has arrived")
    yield "cancelled-before", rejected("CANCELLED", CANCELLED_BEFORE)
    yield (
        "cancelled-before-its-next-try",
        rejected(
            "CANCELLED",
            "it was cancelled before the job of its try 2 was created",
            retry=RetryPolicy(2),
            try_number=2,
        ),
    )
    yield "accepted-at-the-second-try", accepted("CREATED", job_id="4711", try_number=2)
    watched = "the stack no longer watches sandbox 'prod'"
    yield "not-watched", rejected("NOT_WATCHED", watched)
    unknown = "its create call got no response"
    yield "outcome-unknown", rejected("OUTCOME_UNKNOWN", unknown)
    failed = "it failed 5 times, the last time with KeyError; see the creator's log"
    yield "unexpected", rejected("UNEXPECTED", failed)
    yield "digest", full_digest()
    yield "digest-of-a-quiet-day", quiet_digest()


KINDS = dict(every_kind())
NAMES = Names(
    {"5bb4c46757920712f924a3eb": "Newsletter profiles"},
    {"s3": "VIP customers", "s1": "Cart abandoners"},
)


def with_segments(*ids: str | None, **fields: Any) -> Event:
    return of_job(
        status="FAILED", filter={"segments": [{"segmentId": one} for one in ids]}, **fields
    )


NAMED = {
    "named": with_segments("s1"),
    "named-many-segments": with_segments("s1", "s2", "s3", "s4", "s5"),
    "named-overdue": one_of_each()["overdue"],
    "named-request": KINDS["accepted"],
}
"""Events whose messages are shown with NAMES."""


def test_an_error_without_a_code_appears_without_one() -> None:
    """The service may show an error as plain text."""
    text = email(of_job(status="SUCCEEDED", errors=["Job aborted."]), stack="export-jobs")
    assert "Job aborted.\n" in text
    assert "None" not in text


def test_a_request_that_was_cancelled_on_purpose_is_no_bad_news() -> None:
    """Field case 35: its headline is neutral, unlike that of any other rejection."""
    title = chat(KINDS["cancelled-before"])["content"]["title"]
    assert title == "[`prod`] Export request `nightly-newsletter` was cancelled before it had a job"
    assert chat(KINDS["refused"])["content"]["title"].startswith(":warning: ")


@pytest.mark.parametrize("name", [*KINDS, *NAMED])
def test_the_message_reads_as_it_was_last_looked_at(name: str) -> None:
    """Subject, text and chat: a changed word shows everywhere that it appears."""
    event, names = (NAMED[name], NAMES) if name in NAMED else (KINDS[name], NO_NAMES)
    in_mail = email(event, stack="export-jobs", names=names)
    in_chat = chat(event, stack="export-jobs", names=names)
    shown = json.dumps(in_chat, indent=2, ensure_ascii=False)
    rendered = f"Subject: {subject(event)}\n\n{in_mail}\n\n--- chat\n{shown}\n"
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("EXPORT_JOBS_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(rendered)
    assert rendered == path.read_text()


def test_no_snapshot_is_left_over() -> None:
    """Each is of an existing kind."""
    assert {path.stem for path in SNAPSHOTS.glob("*")} == KINDS.keys() | NAMED.keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_subject_is_short_and_plain(name: str) -> None:
    """SNS allows fewer than 100 ASCII characters, and no line break."""
    line = subject(KINDS[name])
    assert len(line) <= MAX_SUBJECT
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([], ""),
        (["s2", "s4"], ""),
        (["s1", "s2"], "Cart abandoners (s1), s2"),
        (["s4", "s2", "s3", "s1"], "VIP customers (s3), Cart abandoners (s1), s4 and 1 more"),
        (["s1", None], "Cart abandoners (s1) and 1 more"),
        (["s1"] + ["s2"] * 100, "Cart abandoners (s1), s2, s2 and more than 97 others"),
    ],
)
def test_segments_are_told_if_one_has_a_name(ids: list[str | None], said: str) -> None:
    """Those with a name first, at most three; ids alone would tell a reader nothing."""
    lines = email(with_segments(*ids), names=NAMES).split("\n")
    shown = [line.removeprefix("Segments:").strip() for line in lines if line[:9] == "Segments:"]
    assert shown == ([said] if said else [])


def test_without_names_a_message_is_what_it_was() -> None:
    """Nobody has to name anything."""
    event = with_segments("s1", "s2")
    assert email(event) == email(event, names=NO_NAMES) == email(event, names=Names({"x": "X"}))
    assert "Dataset:            5bb4c46757920712f924a3eb\n" in email(event)


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (None, ""),
        (0, "0 s"),
        (89_400, "89 s"),
        (90_000, "2 min"),
        (119 * 60_000, "119 min"),
        (200 * 60_000, "3 h 20 min"),
        (72 * 3_600_000, "72 h 0 min"),
    ],
)
def test_durations_are_written_as_people_write_them(milliseconds: int | None, said: str) -> None:
    """Without milliseconds or decimals."""
    assert span(milliseconds) == said
