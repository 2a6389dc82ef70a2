"""Names of datasets and segments at the terminal: what a person types and sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.client
import pytest
import requests
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.names import NO_NAMES, Names
from support.command_line import Local, envelope, store_of, until

pytestmark = pytest.mark.xdist_group("cli-names")

DATASET = "5b7c86968f7b6501e21ba9df"
"""Where the jobs of `envelope` export to."""
SEGMENT = "52c26d0d-45f2-47a2-ab30-ed06abc981ff"
NAMES = Names({DATASET: "Newsletter profiles"}, {SEGMENT: "VIP"})
BOTH = f"Newsletter profiles ({DATASET})"


@pytest.fixture(autouse=True)
def _names(local: Local) -> Iterator[None]:
    """Each test begins with NAMES in both sandboxes."""
    for sandbox in ("prod", "dev"):
        store_of(local).put_names(sandbox, NAMES)
    yield
    for sandbox in ("prod", "dev"):
        store_of(local).put_names(sandbox, NO_NAMES)


@pytest.fixture(scope="module")
def job(local: Local) -> str:
    """A job that a request has created, which has ended and is on record."""
    asked = envelope("named", filter={"segments": [{"segmentId": SEGMENT}]})
    job_id = str(local.json("request", "create", "-", "--wait", stdin=asked)["jobId"])
    until(lambda: SEGMENT in local.run("job", "show", job_id).stdout)
    return job_id


@contextmanager
def reads_of_names() -> Iterator[list[str]]:
    """The sandboxes whose names are read in this process."""
    found: list[str] = []
    call = botocore.client.BaseClient._make_api_call

    def counting(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        values = parameters.get("ExpressionAttributeValues", {})
        if values.get(":sk") == {"S": "!names"}:
            found.append(values[":sandbox"]["S"].removeprefix("!expectations#"))
        return call(client, operation, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", counting)
        yield found


def test_a_list_of_jobs_has_names_and_ids(local: Local, job: str) -> None:
    """Read once a sandbox, however many jobs there are; JSON has both, null without a name."""
    for sandbox in ("prod", "prod", "dev"):
        requests.post(local.control(f"jobs?sandbox={sandbox}"), json={}, timeout=10)
    until(lambda: {j["sandboxName"] for j in local.json("job", "list")} == {"prod", "dev"})
    with reads_of_names() as reads:
        text = local.run("job", "list").stdout
    assert sorted(reads) == ["dev", "prod"]
    (line,) = [line for line in text.splitlines() if line.split()[2:4] == [job, "prod"]]
    assert line.endswith(BOTH)
    for listed in local.json("job", "list"):
        assert (listed["datasetId"], listed["datasetName"]) == (DATASET, "Newsletter profiles")
    store_of(local).put_names("prod", NO_NAMES)
    (shown,) = [j for j in local.json("job", "list") if j["jobId"] == job]
    assert (shown["datasetId"], shown["datasetName"]) == (DATASET, None)


def test_a_job_and_its_events_have_names_and_ids(local: Local, job: str) -> None:
    """Its dataset and its segments, from the record and from the service."""
    for live in ([], ["--live"]):
        with reads_of_names() as reads:
            lines = local.run("job", "show", job, *live).stdout.splitlines()
        assert reads == ["prod"]
        facts = [line.split(maxsplit=1) for line in lines]
        assert ["dataset", BOTH] in facts
        assert ["segments", f"VIP ({SEGMENT})"] in facts
    assert local.json("job", "show", job)["datasetName"] == "Newsletter profiles"
    events = local.run("event", "list", job).stdout.splitlines()
    assert events
    assert all(line.endswith(f"  {BOTH}") for line in events)


def test_requests_have_names_and_ids(local: Local, job: str) -> None:
    """Those with a job that is open, and those that have ended."""
    assert ["dataset", BOTH] in [
        line.split(maxsplit=1) for line in local.run("request", "show", "named").stdout.splitlines()
    ]
    shown = local.json("request", "show", "named")
    assert (shown["datasetId"], shown["datasetName"]) == (DATASET, "Newsletter profiles")
    with local.at_pace(60), reads_of_names() as reads:
        local.send(envelope("under-way"))

        def listed() -> Any:
            reads.clear()
            found = local.json("request", "list", "--ended")
            return found if any(one["jobId"] for one in found["underWay"]) else None

        found = until(listed)
        assert reads == ["prod"]
        text = local.run("request", "list", "--ended").stdout
        assert text.count(BOTH) >= 2
        for one in (*found["underWay"], *found["ended"]):
            assert (one["datasetId"], one["datasetName"]) == (DATASET, "Newsletter profiles")
        local.run("request", "cancel", "under-way", "--wait")


def test_events_are_followed_with_names_and_as_json_as_they_were_published(local: Local) -> None:
    """What reads the JSON knows its schema; so nothing is added to it."""
    with local.at_pace(3):
        local.send(envelope("followed"))
        with reads_of_names() as reads:
            tail = ("event", "tail", "--limit", "1", "--seconds", "30")
            (line,) = local.run(*tail, "--dataset", "Newsletter profiles").stdout.splitlines()
    assert line.endswith(f"  {BOTH}")
    assert reads == ["prod"]
    with local.at_pace(3):
        local.send(envelope("followed-too"))
        (line,) = local.run(*tail, "--json").stdout.splitlines()
    assert DATASET in line
    assert "Newsletter" not in line


def test_jobs_are_filtered_by_a_dataset_s_name(local: Local, job: str) -> None:
    """Exactly, like an id; a name of several datasets is an error that has their ids."""
    found = [j["jobId"] for j in local.json("job", "list", "--dataset", "Newsletter profiles")]
    assert job in found
    assert found == [j["jobId"] for j in local.json("job", "list", "--dataset", DATASET)]
    assert local.json("job", "list", "--dataset", "newsletter profiles") == []
    same = Names({DATASET: "Newsletter profiles", "another": "Newsletter profiles"})
    store_of(local).put_names("prod", same)
    done = local.run("job", "list", "--dataset", "Newsletter profiles")
    assert done.returncode == 2
    assert f"use an id: {DATASET}, another" in done.stderr
    assert local.run("job", "list", "--dataset", DATASET).returncode == 0


FILE = f"""\
names:
  datasets: {{{DATASET}: Newsletter, new: Basket}}
  segments: {{{SEGMENT}: VIP}}
"""


def apply(local: Local, text: str, *options: str) -> list[str]:
    done = local.run("expectation", "apply", "-", *options, stdin=text)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_file_of_names_is_applied_once(local: Local) -> None:
    """It prints what changes, once for all sandboxes; the second time nothing changes."""
    changes = [
        f"~ dataset {DATASET}: Newsletter profiles → Newsletter",
        "+ dataset new: Basket",
    ]
    assert apply(local, FILE, "--dry-run") == [*changes, "dry run: nothing was written"]
    assert store_of(local).names("dev") == NAMES
    assert apply(local, FILE) == [*changes, "written"]
    wanted = Names({DATASET: "Newsletter", "new": "Basket"}, {SEGMENT: "VIP"})
    assert [store_of(local).names(sandbox) for sandbox in ("prod", "dev")] == [wanted] * 2
    assert apply(local, FILE) == ["nothing to change"]
    changed = local.json("expectation", "apply", "-", stdin=FILE.replace("Basket", "Cart"))
    assert changed["names"] == [
        {"kind": "changed", "of": "dataset", "id": "new", "old": "Basket", "new": "Cart"}
    ]


def test_only_prune_removes_names_and_only_a_file_that_has_names(local: Local) -> None:
    """With --sandbox, those of one sandbox; a file that has only names removes no expectation."""
    apply(local, FILE)
    expected = '[{"name": "n", "datasetId": "d", "timezone": "UTC", "due": "06:00", "sandboxName": "prod"}]'
    assert apply(local, expected, "--prune")[0] == "+ n (prod)"
    fewer = "names: {segments: {" + SEGMENT + ": VIP}}"
    assert apply(local, fewer) == [
        "names not in the file, and kept: 2; --prune removes them",
        "nothing to change",
    ]
    removed = [f"- dataset {DATASET}: Newsletter", "- dataset new: Basket"]
    assert apply(local, fewer, "--prune", "--sandbox", "dev") == [*removed, "written"]
    assert "new" in store_of(local).names("prod").datasets
    assert apply(local, fewer, "--prune") == [*removed, "written"]
    assert store_of(local).names("prod") == Names(segments={SEGMENT: "VIP"})
    assert [one["name"] for one in local.json("expectation", "list")] == ["n"]
    assert apply(local, "[]", "--prune")[0] == "- n (prod)"


def test_an_expectation_has_names_and_ids(local: Local) -> None:
    """Its dataset and its segments, in `show`; JSON has the dataset's name beside its definition."""
    expected = Expectation("named", DATASET, "UTC", due=360, segments=(SEGMENT,))
    store_of(local).edit_expectations("prod", [ExpectationRecord("prod", expected, 1)])
    try:
        lines = local.run("expectation", "show", "named").stdout.splitlines()
        facts = [line.split(maxsplit=1) for line in lines]
        assert ["datasetId", BOTH] in facts
        assert ["segments", f"VIP ({SEGMENT})"] in facts
        (listed,) = [e for e in local.json("expectation", "list") if e["name"] == "named"]
        assert listed["datasetName"] == "Newsletter profiles"
    finally:
        local.run("expectation", "remove", "named")
