"""Pages as HTML: text from outside is text, whatever it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any, cast

import pytest
from export_jobs.contract.text import one_line
from export_jobs.events.wording import command_line
from export_jobs.model.names import Names
from export_jobs.model.records import Attempt, Gate, JobRecord, RequestRecord, Ticket
from export_jobs.model.retry import Try
from export_jobs_cli.job_show import JobDetails
from export_jobs_cli.page.addresses import SERVED
from export_jobs_cli.page.console import ConsoleLink
from export_jobs_cli.page.dataset import dataset_page
from export_jobs_cli.page.expectations import expectations_of
from export_jobs_cli.page.job import shown_job
from export_jobs_cli.page.kept import Reading
from export_jobs_cli.page.overview import overview_of
from export_jobs_cli.page.pages import Page
from export_jobs_cli.page.rendering import Frame, Renderer
from export_jobs_cli.page.requests import MAX_SHOWN, fields_of, requests_of
from export_jobs_cli.page.status import StackStatus
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_text import FRAGMENTS, called, hostile
from support.pages import ALL_WELL, HOUR_MS, NOW, TONIGHT, job_record, line_of, missed, reading


@dataclass
class Seen(HTMLParser):
    """The elements of a page, each with its attributes' names, and all its text."""

    elements: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        found = dict(attrs)
        self.addresses += [found[name] or "" for name in ("href", "src", "action") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        self.text += [value for name, value in attrs if name in {"title", "aria-label"} and value]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def seen(html: str) -> Seen:
    found = Seen()
    found.feed(html)
    found.close()
    return found


def renderer() -> Renderer:
    pages = SimpleNamespace(system=SimpleNamespace(command=command_line))
    frame = Frame("export-jobs", [ConsoleLink("Stack", "https://x.test/")], is_live=True)
    return Renderer(cast("Any", pages), SERVED, frame)


RENDERER = renderer()


def rendered(template: str, values: Mapping[str, Any]) -> str:
    return RENDERER.page(Page(template, "Title", NOW, ["export-jobs job list"], values))


def id_like(text: str) -> str:
    """As much of it as the id of a job or a dataset may be."""
    return text.strip()[:200].strip()


outside = hostile.filter(id_like)


def everything(text: str) -> Reading:
    """A sandbox in which every text from outside is this one."""
    dataset = id_like(text)
    failed = job_record(
        dataset,
        "FAILED",
        dataset=dataset,
        errors=[{"code": text, "msg": text}],
        request_key=text,
        correlation_id=text,
    )
    running = replace(
        job_record(
            f"{dataset}2", "PROCESSING", at=NOW - HOUR_MS, dataset=dataset, request_key=text
        ),
        status=text,
    )
    attempt = Attempt(text, "id", NOW, NOW, {}, 1)
    return reading(
        failed,
        running,
        expectations=[missed(text, dataset=dataset)],
        names=called(f"name {text}"),
        tickets=[Ticket("prod", text, "create", NOW - HOUR_MS, NOW - HOUR_MS)],
        gate=Gate("prod", slots={text: attempt}),
    )


def every_page(text: str) -> dict[str, str]:
    one = everything(text)
    lines = {"prod": line_of(one)}
    status = StackStatus({}, None, [text])
    request = RequestRecord(
        text,
        "CREATED",
        "prod",
        job_id=text,
        outcome="CREATED",
        tries=(Try(1, text, "FAILED", NOW, text, text),),
    )
    rejected = RequestRecord(text, "REJECTED", "prod", reason=text, named=text, outcome="INVALID")
    job = next(job for job in one.jobs if job.is_final)
    details = JobDetails(job, request, [text], can_be_accepted=True)
    return {
        "overview.html": rendered(
            "overview.html",
            {"overview": overview_of([one], lines, status, now=NOW), "most_jobs": 10_000},
        ),
        "requests.html": rendered(
            "requests.html",
            {"requests": [requests_of(lines["prod"], [rejected])], "status": status},
        ),
        "expectations.html": rendered(
            "expectations.html", {"sandboxes": expectations_of([one], now=NOW)}
        ),
        "job.html": rendered("job.html", {"page": shown_job(details, None), "problems": [text]}),
        "dataset.html": rendered(
            "dataset.html", {"page": dataset_page(one, id_like(text), lambda *_: None, now=NOW)}
        ),
        "problem.html": RENDERER.problem("Title", text, asks_for_token=[(text, text)]),
    }


PLAIN = {name: seen(html).elements for name, html in every_page("plain").items()}


@given(outside)
def test_text_from_outside_adds_no_element_and_no_attribute(text: str) -> None:
    """Every page has the elements that it has with plain text, and no others."""
    for name, html in every_page(text).items():
        assert seen(html).elements == PLAIN[name], name


@given(outside)
def test_no_text_leads_away_from_the_page(text: str) -> None:
    """Links lead to our own pages, and to the one address of the console."""
    for html in every_page(text).values():
        for address in seen(html).addresses:
            assert re.match(r"(/|#|https://x\.test/$)", address), address
            assert not address.startswith(("//", "/\\"))


@given(outside)
def test_no_text_changes_how_another_is_shown(text: str) -> None:
    """No control character and no change of the writing direction is left in a page."""
    for html in every_page(text).values():
        for character in html.replace("\n", ""):
            assert character.isprintable(), repr(character)


@given(st.sampled_from(FRAGMENTS).filter(id_like))
def test_hostile_text_is_shown_as_it_is(text: str) -> None:
    """Nothing of what can be shown is lost."""
    shown = " ".join(one_line(text).split())
    for name, html in every_page(text).items():
        assert shown in " ".join(" ".join(seen(html).text).split()), name


def test_no_id_is_there_twice() -> None:
    """Links and labels would lead to the wrong one."""
    for html in every_page("plain").values():
        ids = seen(html).ids
        assert len(set(ids)) == len(ids)


def test_a_page_has_no_script_and_no_style_of_its_own() -> None:
    """The policy would refuse both."""
    for html in every_page("plain").values():
        assert "<style" not in html
        assert not re.search(r"<script(?! src=)", html)
        for _, attributes in seen(html).elements:
            assert not {name for name in attributes if name == "style" or name.startswith("on")}


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("", []),
        ("job.filter: is null; leave it out", ["job.filter: is null; leave it out"]),
        (
            "job.a[0].b: is required; job.c: is blank; leave it out for all fields; d: is no date",
            [
                "job.a[0].b: is required",
                "job.c: is blank; leave it out for all fields",
                "d: is no date",
            ],
        ),
        ("it expired; and nobody saw it", ["it expired; and nobody saw it"]),
    ],
)
def test_each_wrong_field_of_a_request_is_shown_apart(reason: str, fields: list[str]) -> None:
    """Reasons may have semicolons of their own."""
    assert fields_of(reason) == fields


def test_alerts_name_their_sandbox_if_there_are_several() -> None:
    """With one, it would only be in the way."""
    prod = reading(job_record("1", "FAILED"), expectations=[missed()])
    for readings, named in (([prod], 0), ([prod, reading(sandbox="dev")], 2)):
        lines = {one.sandbox: line_of(one) for one in readings}
        overview = overview_of(readings, lines, ALL_WELL, now=NOW)
        html = rendered("overview.html", {"overview": overview, "most_jobs": 9})
        assert html.count("[prod] ") == named


def test_lists_that_are_cut_say_so() -> None:
    """Otherwise people would take the rest for nothing."""
    records = [RequestRecord(f"r{n}", "REJECTED", "prod", reason="x") for n in range(MAX_SHOWN + 1)]
    slots = {f"r{n}": Attempt(f"r{n}", "i", NOW, NOW, {}, 1) for n in range(MAX_SHOWN + 2)}
    tickets = [Ticket("prod", f"r{n}", "create", n, n) for n in range(MAX_SHOWN + 3)]
    line = line_of(reading(gate=Gate("prod", slots=slots), tickets=tickets))
    html = rendered("requests.html", {"requests": [requests_of(line, records)], "status": ALL_WELL})
    assert f"These are the newest {MAX_SHOWN}." in html
    assert "and 2 more" in html
    assert "and 3 more" in html
    few = requests_of(line_of(reading()), records[:MAX_SHOWN])
    html = rendered("requests.html", {"requests": [few], "status": ALL_WELL})
    assert "newest 200" not in html
    assert "more</p>" not in html


def test_a_changed_expectation_shows_both_definitions() -> None:
    """The open window has the former one."""
    record = missed()
    former = replace(record.expectation, due=60, dataset_id="before")
    one = reading(expectations=[replace(record, in_force=former)])
    html = rendered("expectations.html", {"sandboxes": expectations_of([one], now=NOW)})
    assert "<li>datasetId: before, then d1</li>" in html
    assert "<li>due: 01:00, then 06:00</li>" in html


def test_errors_are_shown_in_full() -> None:
    """All that are on record, each whole."""
    errors: Sequence[Mapping[str, str]] = [{"code": f"E{n}", "msg": "m" * 900} for n in range(9)]
    (job,) = reading(job_record("1", "FAILED", errors=errors)).jobs
    html = rendered(
        "job.html", {"page": shown_job(JobDetails(job, None, []), None), "problems": []}
    )
    for n in range(9):
        assert f"{'m' * 900} (code E{n})" in html


def test_a_job_that_no_sweep_has_seen_has_a_page() -> None:
    """The creator has made it a moment ago: it has no status, no numbers and no events."""
    (job,) = reading(JobRecord("prod", "1", TONIGHT, request_key="r")).jobs
    html = rendered(
        "job.html", {"page": shown_job(JobDetails(job, None, []), None), "problems": []}
    )
    assert "NEW" in html
    assert "None yet." in html


def test_a_name_is_shown_with_its_id() -> None:
    """Both are needed: the name to recognise it, the id to look for it elsewhere."""
    one = reading(job_record("1"), names=Names(datasets={"d1": "Newsletter"}))
    overview = overview_of([one], {"prod": line_of(one)}, ALL_WELL, now=NOW)
    html = rendered("overview.html", {"overview": overview, "most_jobs": 9})
    assert "Newsletter" in html
    assert "<small>d1</small>" in html
