"""Promise 8 at the terminal: whatever is on record or in the queue, it only shows as text."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from export_jobs.contract import Job
from export_jobs.contract.text import one_line
from export_jobs.creator.message import Letter, read_request
from export_jobs.events.build import state_change
from export_jobs.events.wording import command_line
from export_jobs.model.baselines import UNKNOWN, Baseline, Run
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.records import (
    Attempt,
    Event,
    Gate,
    Hold,
    JobRecord,
    RequestRecord,
    SandboxRecord,
    Ticket,
    Undelivered,
)
from export_jobs.model.retry import Try
from export_jobs_cli import (
    dead_letters,
    doctor,
    event_list,
    job_list,
    job_show,
    output,
    request_list,
    request_state,
    requests,
)
from export_jobs_cli.baselines import shown as baselines_shown
from export_jobs_cli.baselines import stored as baselines_stored
from export_jobs_cli.errors import UserError
from export_jobs_cli.expectations import shown, stored
from export_jobs_cli.expectations.file import FileInvalid, parse
from export_jobs_cli.expectations.names import AppliedNames, NameChange
from export_jobs_cli.expectations.plan import Change, FieldChange
from export_jobs_cli.files import read_text
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.line import WaitingLine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.command_line import commands, terminal
from support.hostile_text import called, hostile

AT = 1_769_824_800_000
Text = Callable[[], str]


def a_job(text: Text) -> KnownJob:
    """A job as the service shows it, and its record with an event that is not delivered."""
    job = Job.model_validate(
        {
            "id": text()[:256],
            "status": text()[:64],
            "creationTime": AT,
            "destination": {"datasetId": text()[:256], "batchId": text()[:256]},
            "schema": {"name": text()},
            "fields": text(),
            "filter": {"segments": [{"segmentId": text()[:256]}]},
            "errors": [{"code": text()[:256], "msg": text()}, text()],
        }
    )
    record = JobRecord(
        "prod",
        job.id,
        AT,
        status=text(),
        sequence=1,
        request_key=text(),
        correlation_id=text(),
        duplicate_of=text(),
    )
    event = state_change(
        record, job, previous_status=text(), comparison=UNKNOWN, stack_id="s", now=AT
    )
    unclean = {
        "jobId": text(),
        "requestKey": text(),
        "errors": [{"code": None, "message": text()}],
        "anomalies": ["VOLUME_DROP", text()],
        "newUsual": [text()],
        "final": True,
    }
    older = Event(event.type, {**event.detail, **unclean})
    outbox = tuple(Undelivered(one, frozenset({"bus"})) for one in (event, older))
    return KnownJob("prod", replace(record, outbox=outbox), job, called(text()))


def a_letter(text: Text) -> dead_letters.DeadLetter:
    key = text()
    return dead_letters.DeadLetter("m", "r", text(), key, text(), AT, Letter(key, key, text()))


def an_ending(text: Text, *, rejected: bool = True) -> requests.Ending:
    return requests.Ending(
        1, text(), "m", "create", rejected=rejected, outcome="REFUSED", reason=text(),
        job_id=None if rejected else text(), sandbox=text(), status=text(), first_error=text(),
    )  # fmt: skip


def a_request(text: Text) -> RequestRecord:
    return RequestRecord(
        text(), "REJECTED", "prod", outcome="INVALID", reason=text(), job_id=text(), touched_at=AT,
        dataset_id=text(),
    )  # fmt: skip


def an_event_followed(text: Text) -> str:
    (entry, _) = (a_job(text).record or JobRecord("prod", "1", AT)).outbox
    detail = {**entry.event.detail, "datasetId": text()}
    return event_list.line_of(entry.event.type, detail, called(text()))


class SystemHere:
    """As much of a system as reading a line needs."""

    creator = SimpleNamespace(max_open_exports=2, delay_policy=DelayPolicy())
    command = staticmethod(command_line)


SYSTEM: Any = SystemHere()


def a_line(text: Text) -> WaitingLine:
    """A sandbox with two requests of each kind: in line, delayed, to cancel, sent, with a job."""
    tickets = [
        Ticket("prod", text(), action, AT, AT, AT + 1, delayed=delayed)
        for action, delayed in (("cancel", False), ("create", False), ("create", True))
        for _ in range(2)
    ]
    jobs = {
        number: JobRecord("prod", text(), AT, status=text(), request_key=text(), dataset_id=text())
        for number in "12"
    }
    attempts = {number: Attempt(text(), number, AT, AT, {}, 1) for number in "12"}
    known = SandboxRecord(
        Gate("prod", slots=attempts, hold=Hold(AT, 60_000)), open_jobs=jobs, tickets=tuple(tickets)
    )
    return WaitingLine(SYSTEM, text(), known)


def a_list_of_requests(
    text: Text, ended: Sequence[RequestRecord] | None = None
) -> request_list.RequestList:
    """Of two sandboxes, with more waiting than is shown."""
    lines = [a_line(text), a_line(text)]
    return request_list.RequestList(lines, 10, AT, ended, names=lambda _: called(text()))


def a_request_sent(text: Text) -> requests.Sent:
    body = json.dumps({"action": "cancel", "jobId": "1"})
    return requests.Sent(text(), "m", body, read_request(body, sandboxes=["prod"]))


def a_state(text: Text, status: str = "REJECTED") -> request_state.RequestState:
    return request_state.RequestState(
        text(), status, wait_in_words=text(), cancelled_by=text(), outcome=text(), reason=text(),
        job_id=None if status == request_state.DEAD else text(), sandbox=text(),
        dataset_id=text(), names=called(text()), try_number=2,
        tries=[Try(1, text(), "FAILED", AT, error_code=text(), error_message=text())],
    )  # fmt: skip


def progress_of(text: Text) -> None:
    with requests.progress(quiet=False) as report:
        report(text())


def error_of(text: Text) -> None:
    with pytest.raises(UserError) as caught:
        requests.checked(json.dumps({"job": {text(): 1}}), sandboxes=["prod"])
    output.error(str(caught.value))
    with pytest.raises(UserError) as caught:
        read_text(f"/no/{text()}".replace("\0", ""))
    output.error(str(caught.value))


def an_expectation(text: Text) -> ExpectationRecord:
    """As somebody with the right to write the table could have made it."""
    expected = Expectation(text(), text(), "UTC", due=1, segments=(text(), text()))
    window = Window(AT, AT + 1, AT + 1)
    return ExpectationRecord(
        text(),
        expected,
        AT,
        muted_until=2 * AT,
        in_force=replace(expected, min_profiles=7),
        window=window,
        history=(PastWindow(window, "GOOD", text(), AT),) * 2,
    )


def a_change_applied(text: Text) -> stored.Applied:
    changes = (
        Change("added", an_expectation(text)),
        Change("changed", an_expectation(text), (FieldChange("segments", text(), text()),)),
        Change("removed", an_expectation(text)),
    )
    names = (
        NameChange("dataset", text(), None, text()),
        NameChange("segment", text(), text(), text()),
    )
    left = ((text(), text()), (text(), text()))
    return stored.Applied(changes, left, written=True, names=AppliedNames(names, 2))


def a_baseline(text: Text) -> baselines_shown.Shown:
    """As somebody with the right to write the table could have made it."""
    known = Baseline(
        text(),
        text(),
        text(),
        segments=(text(), text()),
        segment_count=5,
        runs=tuple(Run(AT + n, 60_000, 10) for n in range(9)),
        unusual=(Run(AT + 9, 60_000, 1),),
    )
    return baselines_shown.Shown.of(known, names=called(text()), delays=DelayPolicy(), now=AT)


def an_accepted_job(text: Text) -> None:
    one, job = a_baseline(text), JobRecord("prod", text(), AT)
    accepted = baselines_stored.Accepted(job, ("VOLUME_DROP",), one.baseline)
    baselines_shown.show_accepted(accepted, one)


def error_of_file(text: Text) -> None:
    """A key, a value and a name that are wrong."""
    entry = {"name": "n", text(): text(), "days": text(), "timezone": text(), "due": text()}
    body = {"expectations": [entry], "names": {"datasets": {text(): [text()]}}}
    with pytest.raises(FileInvalid) as caught:
        parse(yaml.safe_dump(body), now=AT, watched=["prod", "dev"])
    for problem in caught.value.problems[:4]:
        output.error(str(problem))


SHOWN: dict[str, Callable[[Text], object]] = {
    "job show": lambda text: job_show.show(
        SYSTEM, job_show.JobDetails(a_job(text), a_request(text), [text()], can_be_accepted=True)
    ),
    "job list": lambda text: job_list.show([a_job(text), a_job(text)], sandboxes=2),
    "event list": lambda text: event_list.show(a_job(text).record, called(text())),
    "event tail": lambda text: output.console().print(an_event_followed(text), soft_wrap=True),
    "event tail --json": lambda text: output.print_json({text(): [text(), {"detail": text()}]}),
    "request show": lambda text: request_state.show(SYSTEM, a_state(text)),
    "request show, dead": lambda text: request_state.show(
        SYSTEM, a_state(text, request_state.DEAD)
    ),
    "request list": lambda text: request_list.show(a_list_of_requests(text)),
    "request list --ended": lambda text: request_list.show(
        a_list_of_requests(text, [a_request(text)] * 2)
    ),
    "request create": lambda text: requests.show_sent(a_request_sent(text)),
    "request create, done before": lambda text: requests.show_sent(
        replace(a_request_sent(text), known=replace(a_request(text), status="CREATED"))
    ),
    "request create --wait, rejected": lambda text: requests.show_ending(SYSTEM, an_ending(text)),
    "request create --wait": lambda text: requests.show_ending(
        SYSTEM, an_ending(text, rejected=False)
    ),
    "request create --wait, progress": progress_of,
    "dlq list": lambda text: dead_letters.show_list(SYSTEM, [a_letter(text), a_letter(text)]),
    "dlq redrive": lambda text: dead_letters.show_redriven([], [(a_letter(text), text())]),
    "dlq delete": lambda text: dead_letters.show_deleted([a_letter(text)]),
    "doctor": lambda text: doctor.show(doctor.Finding("x", "bad", text(), text(), text())),
    "an error": error_of,
    "expectation apply": lambda text: shown.show_applied(a_change_applied(text), sandboxes=2),
    "expectation apply, a wrong file": error_of_file,
    "expectation list": lambda text: shown.show_list(
        [an_expectation(text)] * 2, sandboxes=2, now=AT
    ),
    "baseline list": lambda text: baselines_shown.show_list([a_baseline(text)] * 2, sandboxes=2),
    "baseline show": lambda text: baselines_shown.show(a_baseline(text)),
    "baseline accept": an_accepted_job,
    "expectation show": lambda text: shown.show(an_expectation(text), names=called(text()), now=AT),
    "expectation mute": lambda text: shown.show_muted(an_expectation(text)),
    "expectation unmute": lambda text: shown.show_unmuted(an_expectation(text)),
    "expectation remove": lambda text: shown.show_removed(an_expectation(text)),
}
NOT_SHOWN = {
    "api": "prints how to call it",
    "data generate": "prints what it has written",
    "demo": "prints only what this machine has made",
    "dlq show": "test_a_body_goes_unchanged_into_a_file_and_safely_to_a_terminal",
    "expectation check": "prints a number, or the errors of `expectation apply`",
    "expectation suggest": "prints YAML: tests/unit/test_expectations_suggest.py",
    "local": "prints how to use it",
    "request cancel": "prints the same as `request create`",
    "ui": "serves a page: tests/unit/page/test_rendering.py",
}
"""The commands that are not in SHOWN, with the reason."""


def test_every_command_is_tried_or_has_a_reason() -> None:
    """A new command would otherwise be forgotten here."""
    every = commands()
    groups = {name.partition(" ")[0] for name in every if " " in name}
    tried = {" ".join(re.findall(r"^[a-z]+(?: [a-z]+)?", name)) for name in SHOWN} - {"an error"}
    assert not tried & NOT_SHOWN.keys()
    assert tried | NOT_SHOWN.keys() == every.keys() - groups


@dataclass
class Shown:
    lines: list[str]

    @classmethod
    def by(cls, show: Callable[[Text], object], text: Text) -> Shown:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            show(text)
        return cls(out.getvalue().split("\n"))


@pytest.mark.parametrize("name", SHOWN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
def test_text_forges_no_line_and_reaches_no_terminal(name: str, data: st.DataObject) -> None:
    """As many lines as with harmless text, and no control character in any."""
    shown = Shown.by(SHOWN[name], lambda: data.draw(hostile.filter(str.strip)))
    harmless = Shown.by(SHOWN[name], lambda: "x")
    assert len(shown.lines) == len(harmless.lines)
    for line in shown.lines:
        assert line.isprintable(), line


# A moving line draws itself with escapes of its own: test_a_moving_line_leaves_texts_as_they_are.
@pytest.mark.parametrize("name", sorted(SHOWN.keys() - {"request create --wait, progress"}))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
def test_a_terminal_gets_nothing_but_text(name: str, data: st.DataObject) -> None:
    """Also where tables are fitted to its width; without styles, all that is left is text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "console", terminal)
        shown = Shown.by(SHOWN[name], lambda: data.draw(hostile.filter(str.strip)))
    for line in shown.lines:
        assert line.isprintable(), line


@given(st.recursive(hostile, lambda inner: st.lists(inner) | st.dictionaries(hostile, inner)))
def test_json_stays_what_it_was_and_acts_in_no_terminal(value: Any) -> None:
    """What can't be printed is escaped, and read back as it was; letters stay readable."""
    for text in (output.json_text(value), output.json_text(value, indent=2)):
        assert text.replace("\n", "").isprintable()
        assert json.loads(text) == value
    assert output.json_text("プロファイル é 😀") == '"プロファイル é 😀"'
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="cp1252")):
        assert output.json_text("プロ") == '"\\u30d7\\u30ed"'


@given(hostile)
def test_a_body_goes_unchanged_into_a_file_and_safely_to_a_terminal(body: str) -> None:
    """`dlq show KEY > corrected.json` has to give the body; a terminal must not obey it."""
    file = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(file, encoding="cp1252")):
        output.print_body(body)
        sys.stdout.flush()
        assert file.getvalue().decode("utf-8") == body + "\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "console", lambda **_: Console(force_terminal=True))
        for line in Shown.by(lambda _: output.print_body(body), str).lines:
            assert line.isprintable()


@given(hostile)
def test_the_hints_of_commands_are_for_a_shell(key: str) -> None:
    """Each value in them is one word."""
    state = request_state.RequestState(key, "CREATED", job_id=key)
    *_, hint, _ = Shown.by(lambda _: request_state.show(SYSTEM, state), str).lines
    assert shlex.split(hint) == ["details", "export-jobs", "job", "show", *after(key)]


def after(key: str) -> list[str]:
    """What follows a command: `--` before a key that would be taken for an option."""
    shown = one_line(key)
    return ["--", shown] if shown.startswith("-") else [shown]
