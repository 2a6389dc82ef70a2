"""The file of expected exports: what is read, and how every mistake is named."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from export_jobs.model.expectations import Expectation
from export_jobs.model.names import Names
from export_jobs_cli.errors import UserError
from export_jobs_cli.expectations import fields, schema
from export_jobs_cli.expectations.file import (
    MAX_BYTES,
    MAX_SHOWN,
    Entry,
    FileInvalid,
    load,
    parse,
    written,
)
from export_jobs_cli.expectations.yaml_text import MAX_VALUES, decode_yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft7Validator, ValidationError
from support.faults import LONG
from support.files import ROOT
from support.hostile_text import hostile

EXAMPLES = 2_000 if LONG else 30
NOW = 1_780_000_000_000
"""May 2026."""
NIGHTLY = """\
- name: nightly-newsletter
  sandboxName: prod
  datasetId: 5bb4c46757920712f924a3eb
  segments: [52c26d0d-45f2-47a2-ab30-ed06abc981ff]
  opens: "00:00"
  due: "06:00"
  timezone: Europe/Rome
  days: mon-fri
  except: [2026-12-25]
  minProfiles: 1000
  accept: [SUCCEEDED, SUCCEEDED_WITH_ERRORS]
- name: hourly-suppression
  datasetId: 5b7c86968f7b6501e21ba9df
  every: 1h
  grace: 20m
  timezone: Europe/Rome
"""
MINIMAL = {"name": "n", "datasetId": "d", "timezone": "UTC", "due": "06:00"}


def problems(text: str, watched: list[str] | None = None) -> list[str]:
    with pytest.raises(FileInvalid) as caught:
        parse(text, now=NOW, watched=watched)
    return [str(problem) for problem in caught.value.problems]


def problems_of(**changes: Any) -> list[str]:
    """Those of one entry; a field that is `...` is left out. The line is left out of each."""
    entry = {name: value for name, value in {**MINIMAL, **changes}.items() if value is not ...}
    return [problem.partition(", n: ")[2] for problem in problems(json.dumps([entry]))]


def only(text: str) -> Expectation:
    entries = parse(text, now=NOW).entries
    assert entries
    assert len(entries) == 1
    return entries[0].expectation


def test_the_file_of_the_issue_is_read() -> None:
    """Every field has its meaning, and each entry its sandbox and its line."""
    entries = parse(NIGHTLY, now=NOW).entries
    assert entries
    nightly, hourly = entries
    assert (nightly.sandbox, nightly.line, hourly.sandbox, hourly.line) == ("prod", 1, None, 12)
    assert nightly.expectation == Expectation(
        name="nightly-newsletter",
        dataset_id="5bb4c46757920712f924a3eb",
        timezone="Europe/Rome",
        opens=0,
        due=360,
        days=frozenset(range(5)),
        excepted=frozenset({date(2026, 12, 25)}),
        segments=("52c26d0d-45f2-47a2-ab30-ed06abc981ff",),
        min_profiles=1000,
        accept=frozenset({"SUCCEEDED", "SUCCEEDED_WITH_ERRORS"}),
    )
    assert hourly.expectation == Expectation(
        name="hourly-suppression",
        dataset_id="5b7c86968f7b6501e21ba9df",
        timezone="Europe/Rome",
        every=60,
        grace=20,
    )


def test_the_files_in_the_docs_are_valid() -> None:
    """Each block of YAML with expectations, for the command and for editors."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    blocks = [
        b for page in pages for b in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    files = [block for block in blocks if "- name: " in block]
    assert len(files) >= 2
    for text in files:
        assert parse(text, now=NOW).entries
        value = decode_yaml(text).value
        for entry in value:
            entry["minProfiles"] = int(entry.get("minProfiles", 1))
        Draft7Validator(schema.schema()).validate(value)


def test_what_yaml_1_1_takes_for_something_else_stays_as_written() -> None:
    """Times are no numbers in base 60, dates no objects, `on` no boolean, and ids no numbers."""
    found = only(
        "- {name: on, datasetId: 5e1234567890123456789012, timezone: UTC, due: 18:00, "
        "opens: 00:00, except: [2026-12-25], segments: [0777, yes, 1_000, 0x1F, 12:30:45, .5]}"
    )
    assert (found.name, found.dataset_id) == ("on", "5e1234567890123456789012")
    assert (found.due, found.opens) == (1080, 0)
    assert found.excepted == {date(2026, 12, 25)}
    assert set(found.segments) == {"0777", "yes", "1_000", "0x1F", "12:30:45", ".5"}


@pytest.mark.parametrize(
    "raw",
    [
        NIGHTLY.encode(),
        NIGHTLY.encode("utf-8-sig"),
        NIGHTLY.encode("utf-16"),
        NIGHTLY.replace("\n", "\r\n").encode(),
        b"%YAML 1.2\n---\n" + NIGHTLY.encode() + b"...\n",
        json.dumps(yaml.safe_load(NIGHTLY.replace("2026-12-25", "'2026-12-25'"))).encode(),
    ],
)
def test_any_usual_encoding_is_read(tmp_path: Path, raw: bytes) -> None:
    """With a byte order mark, with Windows' line ends, or written as JSON."""
    file = tmp_path / "expectations.yaml"
    file.write_bytes(raw)
    entries = load(str(file), now=NOW).entries
    assert entries is not None
    plain = parse(NIGHTLY, now=NOW).entries
    assert plain is not None
    assert [e.expectation for e in entries] == [e.expectation for e in plain]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("due", "6:00", '\'6:00\' is not a time of day; write "06:00"'),
        ("due", "6am", '\'6am\' is not a time of day; write "06:00"'),
        ("due", "6 p.m.", '\'6 p.m.\' is not a time of day; write "18:00"'),
        ("due", "12am", '\'12am\' is not a time of day; write "00:00"'),
        ("due", "24:00", '\'24:00\' is not a time of day; write "00:00"'),
        ("due", "0600", '\'0600\' is not a time of day; write "06:00"'),
        ("due", "6h30", '\'6h30\' is not a time of day; write "06:30"'),
        ("due", "06:00:00", '\'06:00:00\' is not a time of day; write "06:00"'),
        ("due", "25:00", "'25:00' is not a time of day; write it as HH:MM, from 00:00 to 23:59"),
        ("due", "noon", "'noon' is not a time of day; write it as HH:MM, from 00:00 to 23:59"),
        ("due", 360, "'360' is not a time of day; write it as HH:MM, from 00:00 to 23:59"),
        ("due", None, "is null; leave it out, or give it a value"),
        ("opens", ["06:00"], "must be text"),
        ("timezone", "europe/rome", "there is no time zone 'europe/rome'; did you mean 'Europe/Rome'?"),
        ("timezone", "Rome", "there is no time zone 'Rome'; did you mean 'Europe/Rome'?"),
        ("timezone", "Europe/Roma", "there is no time zone 'Europe/Roma'; did you mean 'Europe/Rome'?"),
        ("timezone", "New York", "there is no time zone 'New York'; did you mean 'America/New_York'?"),
        ("timezone", "+01:00", "there is no time zone '+01:00'; write one such as Europe/Rome"),
        ("timezone", "../../etc/passwd", "there is no time zone '../../etc/passwd'; write one such as Europe/Rome"),
        ("timezone", "Europe", "there is no time zone 'Europe'; did you mean 'Europe/Rome'?"),
        ("timezone", ..., "is required"),
        ("days", "Mon-Fri", "'Mon-Fri' is not a day; write mon-fri"),
        ("days", "monday", "'monday' is not a day; write mon"),
        ("days", "weekdays", "'weekdays' is not a day; write mon-fri"),
        ("days", "daily", "'daily' is not a day; leave days out for every day"),
        ("days", "mon,", "'' is not a day; the days are mon, tue, wed, thu, fri, sat, sun"),
        ("days", "1-5", "'1-5' is not a day; the days are mon, tue, wed, thu, fri, sat, sun"),
        ("days", "mon-wed,tue", "names tue twice"),
        ("days", [], "is empty; leave it out, or say what you want"),
        ("days", {"mon": "fri"}, "must be a list, such as [one, another]"),
        ("except", ["2026-02-30"], "'2026-02-30' is not a date that exists; the nearest is 2026-02-28"),
        ("except", ["2026-13-01"], "'2026-13-01' is not a date that exists; the nearest is 2026-12-01"),
        ("except", ["25.12.2026"], "'25.12.2026' is not a date; write 2026-12-25"),
        ("except", ["2026/12/25"], "'2026/12/25' is not a date; write 2026-12-25"),
        ("except", ["2026-12-25T00:00:00Z"], "'2026-12-25T00:00:00Z' is not a date; write 2026-12-25"),
        ("except", ["12-25"], "'12-25' is not a date; write it as 2026-12-25"),
        ("except", ["0000-01-01"], "'0000-01-01' is not a date that exists"),
        ("except", "2026-12-25", "must be a list, such as [one, another]"),
        ("except", ["2026-12-25", "2026-12-25"], "names '2026-12-25' twice"),
        ("minProfiles", "1,000", "must be a whole number, such as 1000"),
        ("minProfiles", -1, "must be a whole number, such as 1000"),
        ("minProfiles", 1.5, "must be a whole number, such as 1000"),
        ("minProfiles", 10**13, "Input should be less than or equal to 1000000000000"),
        ("maxDrop", "30", "'30' is not a share in whole percent; write 30%"),
        ("maxDrop", "30 %", "'30 %' is not a share in whole percent; write 30%"),
        ("maxDrop", 30, "'30' is not a share in whole percent; write 30%"),
        ("maxDrop", "12.5%", "'12.5%' is not a share in whole percent; write it as 30% or 0.3, from 1% to 99%"),
        ("maxDrop", 0.125, "'0.125' is not a share in whole percent; write it as 30% or 0.3, from 1% to 99%"),
        ("maxDrop", "0%", "'0%' is not a share in whole percent; write it as 30% or 0.3, from 1% to 99%"),
        ("maxDrop", "100%", "'100%' is not a share in whole percent; write it as 30% or 0.3, from 1% to 99%"),
        ("maxDrop", "-30%", "'-30%' is not a share in whole percent; write it as 30% or 0.3, from 1% to 99%"),
        ("maxDrop", 0, "'0' is not a share in whole percent; write it as 30% or 0.3, from 1% to 99%"),
        ("maxDrop", "a lot", "'a lot' is not a share in whole percent; write it as 30% or 0.3, from 1% to 99%"),
        ("maxDrop", None, "is null; leave it out, or give it a value"),
        ("maxDrop", ["30%"], "must be text"),
        ("accept", [], "is empty; leave it out, or say what you want"),
        ("accept", ["succeeded"], "'succeeded' can't be accepted; did you mean SUCCEEDED?"),
        ("accept", ["FAILED"], "'FAILED' can't be accepted; known: SUCCEEDED, SUCCEEDED_WITH_ERRORS"),
        ("accept", "SUCCEEDED", "must be a list, such as [one, another]"),
        ("segments", [], "is empty; leave it out, or say what you want"),
        ("segments", ["a", "a"], "names 'a' twice"),
        ("segments", [["a"]], "must be text"),
        ("datasetId", " ", "is blank"),
        ("datasetId", "a\x1b[31m", "starts or ends with a blank, or contains invisible characters"),
        ("datasetId", "", "is empty; leave it out, or say what you want"),
        ("sandboxName", None, "is null; leave it out, or give it a value"),
        ("dataset", "d", "is not a field of an expectation; did you mean 'datasetId'?"),
        ("zone", "d", "is not a field of an expectation; did you mean 'timezone'?"),
        ("grace", "10m", "can only be given with every; give a later due instead"),
        ("due", ..., "is required, or every instead"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_the_nearest_right_one(
    field: str, value: Any, message: str
) -> None:
    """One problem for one mistake, and it says what to write."""
    (problem,) = problems_of(**{field: value})
    assert problem.partition(": ")[2] == message
    assert problem.startswith(field)


@pytest.mark.parametrize(
    ("share", "percent"),
    [("30%", 30), ("0.3", 30), (".3", 30), ("0.30", 30), ("0.29", 29), ("1%", 1), ("0.99", 99), ("0.07", 7)],
)  # fmt: skip
def test_a_drop_is_written_as_a_share(share: str, percent: int) -> None:
    """In percent or as a fraction, in YAML and in JSON; it is shown in percent."""
    found = only(f"- {{name: n, datasetId: d, timezone: UTC, due: 06:00, maxDrop: {share}}}")
    assert found.max_drop == percent
    assert written(found)["maxDrop"] == f"{percent}%"
    if "%" not in share:
        assert only(json.dumps([{**MINIMAL, "maxDrop": float(share)}])) == found


@pytest.mark.parametrize(
    ("every", "message"),
    [
        ("7h", "must divide a day, and be at least 5m; write 6h or 8h"),
        ("2d", "must divide a day, and be at least 5m; write 24h"),
        ("1m", "must divide a day, and be at least 5m; write 5m"),
        ("1 hour", "'1 hour' is not a duration; write 1h"),
        ("1h30m", "'1h30m' is not a duration; write 90m"),
        ("60", "'60' is not a duration; write it as 15m, 1h or 90m"),
        ("0h", "'0h' is not a duration; write it as 15m, 1h or 90m"),
        ("PT1H", "'PT1H' is not a duration; write it as 15m, 1h or 90m"),
    ],
)
def test_a_window_has_to_divide_a_day(every: str, message: str) -> None:
    """The two nearest lengths that do are named."""
    assert problems_of(due=..., every=every) == [f"every: {message}"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": "1h"}, "every: can't be combined with due; give one of them"),
        ({"due": ..., "every": "1h", "opens": "00:00"},
         "opens: can only be given with due; windows of every begin at midnight"),
        ({"due": ..., "every": "1h", "grace": "8d"}, "grace: is longer than 7d"),
    ],
)  # fmt: skip
def test_fields_that_exclude_each_other_are_refused(changes: Any, message: str) -> None:
    """Neither of the two is silently ignored."""
    assert problems_of(**changes) == [message]


@pytest.mark.parametrize("name", ["a b", "-a", ".a", "a/b", "a" * 129, "ä", "a\n", ""])
def test_a_name_can_stand_in_a_key_a_command_and_a_headline(name: str) -> None:
    """Letters, digits, dots, underscores and hyphens; it can't be taken for an option."""
    text = json.dumps([{**MINIMAL, "name": name}])
    (problem,) = problems(text)
    assert problem.startswith("line 1, entry 1: name: must be 1 to 128 letters")


def test_every_mistake_of_every_entry_is_named_at_once() -> None:
    """In the order of the file, each with its line and the entry's name or number."""
    text = """\
- name: nightly
  dataset: 5bb4c46757920712f924a3eb
  due: 6am
  timezone: Rome
- datasetId: x
  name: hourly
  every: 7h
  due: "06:00"
  opens: ~
  timezone: UTC
- text
- name: nightly
  datasetId: x
  due: 18:00
  timezone: UTC
"""
    assert problems(text) == [
        "line 1, nightly: datasetId: is required",
        "line 2, nightly: dataset: is not a field of an expectation; did you mean 'datasetId'?",
        "line 3, nightly: due: '6am' is not a time of day; write \"06:00\"",
        "line 4, nightly: timezone: there is no time zone 'Rome'; did you mean 'Europe/Rome'?",
        "line 7, hourly: every: can't be combined with due; give one of them",
        "line 7, hourly: every: must divide a day, and be at least 5m; write 6h or 8h",
        "line 9, hourly: opens: is null; leave it out, or give it a value",
        "line 11, entry 3: must have fields, such as name: nightly-newsletter",
        "line 12, nightly: name: is taken by the entry in line 1",
    ]


def test_the_sandbox_is_checked_against_those_of_the_stack() -> None:
    """It is required where several are watched; an unknown one is refused with those watched."""
    two = '- {name: n, datasetId: d, timezone: UTC, due: "06:00"}\n'
    two += '- {name: n, datasetId: d, timezone: UTC, due: "06:00", sandboxName: prdo}\n'
    assert parse(two, now=NOW).entries
    assert problems(two, ["prod", "dev"]) == [
        "line 1, n: sandboxName: is required, as the stack watches several: prod, dev",
        "line 2, n: sandboxName: 'prdo' is not watched; did you mean prod? watched: prod, dev",
    ]
    assert problems(two.replace("prdo", "prod"), ["prod"]) == [
        "line 2, n: name: is taken by the entry in line 1"
    ]


def test_an_expectation_without_any_day_is_refused() -> None:
    """An exception for each of its days of more than a year would silence it unnoticed."""
    sundays = [
        date.fromordinal(date(2026, 5, 3).toordinal() + 7 * n).isoformat() for n in range(90)
    ]
    assert problems_of(days="sun", **{"except": sundays}) == [
        "except: leaves no day for more than a year from now"
    ]
    assert only(json.dumps([{**MINIMAL, "days": "sun", "except": sundays[:40]}]))


def test_an_exception_may_be_on_a_day_that_is_not_expected_anyway() -> None:
    """A list of holidays has weekends, too, and is the same for every entry."""
    assert only(json.dumps([{**MINIMAL, "days": "mon-fri", "except": ["2026-12-26"]}]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; write [] if no export is expected"),
        ("# nothing\n", "is empty; write [] if no export is expected"),
        ("text", "line 1: must be a list of entries, or have the fields expectations and names"),
        ("{}", "line 1: must be a list of entries, or have the fields expectations and names"),
        ("expectation: []", "line 1: expectation: is not a field here; did you mean 'expectations'?"),
        ("expectations: text", "line 1: expectations: must be a list of entries; write [] if no export is expected"),
        ("expectations:", "line 1: expectations: must be a list of entries; write [] if no export is expected"),
        ("- a\n---\n- b", "line 2: has a second document after ---; put all entries into one list"),
        ("- a:\n\t- b", "line 2: has a tab where only spaces may be; indent with spaces"),
        ("- name: 'x", "line 1: is not YAML: found unexpected end of stream"),
        ("- a: b: c", "line 1: is not YAML: mapping values are not allowed here"),
        ("- *x", "line 1: is not YAML: found undefined alias 'x'"),
        ("- \x00", "line 1: contains an invisible character"),
        ("- !!python/object/apply:os.system [reboot]", "line 1: has a tag, 'python/object/apply:os.system'; write it without"),
        ("- !!python/name:os.system ''", "line 1: has a tag, 'python/name:os.system'; write it without"),
        ("- name: !secret x", "line 1: has a tag, '!secret'; write it without"),
        ("- !!set {a}", "line 1: has a tag, 'set'; write it without"),
        ("- &a [*a]", "line 1: is nested too deeply"),
        pytest.param("[" * 30_000, "is nested too deeply", id="very deep"),
        pytest.param("[" * 30 + "]" * 30, "line 1: is nested too deeply", id="deep"),
        ("- ? [a]\n  : b", "line 1: the name of a field must be text"),
        ('- "\\UFFFFFFFF"', "is not YAML"),
        ("names: []", "line 1: names: must have the fields datasets and segments"),
        ("names: {dataset: {}}", "line 1: names.dataset: is not a field here; did you mean 'datasets'?"),
        ("names: {datasets: [a]}", "line 1: names.datasets: must have an id and a name on each line, such as 5bb4: VIP"),
        ("names:\n  datasets:\n    5bb4: [a]", "line 3: names.datasets.5bb4: must be a name of 1 to 100 characters"),
        ("names: {segments: {a: ''}}", "line 1: names.segments.a: must be a name of 1 to 100 characters"),
        (f"names: {{segments: {{a: {'x' * 101}}}}}", "line 1: names.segments.a: must be a name of 1 to 100 characters"),
        ('names: {segments: {a: "x\\ny"}}', "line 1: names.segments.a: starts or ends with a blank, or contains invisible characters"),
        ("names: {segments: {'': x}}", "line 1: names.segments.: its id must have 1 to 256 characters"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_such_file_is_refused(text: str, message: str) -> None:
    """With its line, as far as it is known; nothing is made, run or left out silently."""
    assert problems(text) == [message]


def test_a_field_that_is_written_twice_is_refused() -> None:
    """YAML libraries take one of them silently; so it is for merge keys, which are not read."""
    text = NIGHTLY.replace("  due:", '  due: "05:00"\n  due:').replace(
        "  grace: 20m", "  grace: 20m\n  <<: {days: sun}"
    )
    twice, merged = problems(text)
    assert twice == "line 7, nightly-newsletter: due: is written twice, the first time in line 6"
    assert merged == (
        "line 17, hourly-suppression: <<: is not read; write the fields themselves, or use an alias "
        "for a value"
    )


def test_an_alias_stands_for_its_value() -> None:
    """A list of holidays is written once."""
    text = json.dumps([{**MINIMAL, "except": ["DAYS"]}]).replace('["DAYS"]', "*days")
    text = f"names: {{datasets: {{d: &n Name}}, segments: {{s: *n}}}}\nexpectations: {text}"
    text = text.replace("*days", "&days [2026-12-25]")
    found = parse(text, now=NOW)
    assert found.names == Names({"d": "Name"}, {"s": "Name"})


def test_aliases_can_not_multiply_without_bound() -> None:
    """A billion laughs end in an error, at once."""
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (problem,) = problems("\n".join(lines))
    assert problem.endswith(f"has more than {MAX_VALUES:,} values")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Nor is an endless one."""
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    for name in (str(file), "/dev/zero"):
        with pytest.raises(UserError, match=r"it is larger than 512 KB"):
            load(name, now=NOW)


def test_only_so_many_problems_are_printed(tmp_path: Path) -> None:
    """A wrong file of thousands of lines does not fill the terminal."""
    file = tmp_path / "many.yaml"
    file.write_text("- x\n" * 1_000)
    with pytest.raises(UserError) as caught:
        load(str(file), now=NOW)
    lines = str(caught.value).splitlines()
    assert len(lines) == MAX_SHOWN + 2
    assert lines[-1] == "  and 950 more"


def test_a_file_may_have_only_names() -> None:
    """That says nothing about what is expected, unlike an empty list."""
    assert parse("names: {datasets: {d: VIP customers}}", now=NOW).entries is None
    assert parse("expectations: []", now=NOW).entries == ()
    assert parse("[]", now=NOW).entries == ()


ids = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=40)
expectations = st.builds(
    Expectation,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
    dataset_id=ids,
    timezone=st.sampled_from(sorted(fields.zones())),
    due=st.integers(0, 1439),
    opens=st.none() | st.integers(0, 1439),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    excepted=st.frozensets(st.dates(date(2026, 1, 1), date(2030, 1, 1)), max_size=9),
    segments=st.frozensets(ids, max_size=5).map(lambda found: tuple(sorted(found))),
    min_profiles=st.integers(0, 10**12),
    max_drop=st.none() | st.integers(1, 99),
    accept=st.sampled_from(
        [frozenset({"SUCCEEDED"}), frozenset({"SUCCEEDED", "SUCCEEDED_WITH_ERRORS"})]
    ),
)
hourly = st.builds(
    lambda one, every, grace: replace(one, due=None, opens=None, every=every, grace=grace),
    expectations,
    st.sampled_from([n for n in range(5, 1441) if 1440 % n == 0]),
    st.integers(0, 7 * 1440),
)


@settings(max_examples=EXAMPLES)
@given(expectations | hourly)
def test_an_expectation_survives_the_file_and_the_table(expectation: Expectation) -> None:
    """Written as an entry, read, stored and read again, it is the same; an editor accepts it."""
    entry = written(expectation, "prod")
    assert Draft7Validator(schema.schema()).is_valid([entry])
    text = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
    assert Entry.model_validate(entry).expectation() == expectation
    assert only(text) == expectation
    assert Expectation.from_definition(expectation.as_definition()) == expectation


@given(st.frozensets(st.integers(0, 6), min_size=1))
def test_days_are_written_as_they_are_read(days: frozenset[int]) -> None:
    """A range may wrap: `fri-mon`."""
    assert fields.days_of([fields.days_text(days)]) == days
    assert fields.days_text({4, 5, 6, 0}) == "fri-mon"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            hostile | st.sampled_from([*Entry.model_json_schema()["properties"]]), inner
        )
    ),
    max_leaves=20,
)


@given(st.binary() | hostile.map(str.encode) | values.map(lambda v: yaml.safe_dump(v).encode()))
@example(b"- name: \xff")
@example(b"%YAML 9999999999999999999999999.1\n--- a")
@example(b"%YAML " + b"9" * 5000 + b".1\n--- a")
@example(b'- "\\ud800"')
@example(b"- {<<: 1, =: 2}")
def test_whatever_a_file_holds_it_is_read_or_refused(raw: bytes) -> None:
    """No other error than the one that is printed in one place, whose lines can be printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: io.BytesIO(raw))
        refusal = ""
        try:
            load("any", now=NOW, watched=["prod"])
        except UserError as error:
            refusal = str(error)
    assert all(line.isprintable() for line in refusal.splitlines())


@settings(max_examples=EXAMPLES)
@given(values)
def test_whatever_a_field_holds_it_is_read_or_refused(value: Any) -> None:
    """Also in an entry that is otherwise right, for each of its fields."""
    for name in Entry.model_json_schema()["properties"]:
        text = yaml.safe_dump([{**MINIMAL, name: value}])
        with suppress(FileInvalid):
            parse(text, now=NOW)


@pytest.mark.parametrize(
    "entry",
    [
        {**MINIMAL, "every": "1h"},
        {**MINIMAL, "due": ...},
        {**MINIMAL, "due": "6:00"},
        {**MINIMAL, "days": "weekdays"},
        {**MINIMAL, "datasetid": "d"},
        {**MINIMAL, "grace": "1h"},
        {**MINIMAL, "accept": ["FAILED"]},
        {**MINIMAL, "except": ["25.12.2026"]},
        {**MINIMAL, "name": "a b"},
    ],
)
def test_an_editor_finds_the_usual_mistakes(entry: dict[str, Any]) -> None:
    """What is refused here is underlined there, as far as a schema can say it."""
    entry = {name: value for name, value in entry.items() if value is not ...}
    with pytest.raises(ValidationError):
        Draft7Validator(schema.schema()).validate([entry])
    assert problems(json.dumps([entry]))


def test_an_editor_and_the_page_know_every_field() -> None:
    """With a title and a description for each, which an editor shows."""
    page = (ROOT / "docs" / "expectations.md").read_text()
    shown = schema.schema()["definitions"]["Entry"]["properties"]
    named = re.findall(r"^\| `(\w+)` \|", page.partition("## Fields")[2], re.MULTILINE)
    assert {*named} >= shown.keys()
    assert shown.keys() == {field.alias for field in Entry.model_fields.values()}
    assert all(field["title"] and field["description"] for field in shown.values())
