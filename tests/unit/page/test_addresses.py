"""Addresses of pages: every id has its own, whatever characters it has."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from export_jobs_cli.page.addresses import (
    SERVED,
    FileAddresses,
    anchor,
    dataset_file,
    job_file,
)
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_text import hostile

ids = hostile | st.sampled_from(["..", ".", "a/b", "A", "a", "con", "x" * 300, "%2e%2e", "é"])


@given(ids, ids)
def test_a_served_address_leads_back_to_its_job(sandbox: str, job_id: str) -> None:
    """To the page of jobs of this server, with the same sandbox and id."""
    address = SERVED.job(sandbox, job_id)
    assert address
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("", "", "/job", "")
    query = parse_qs(parts.query, keep_blank_values=True, errors="surrogateescape")
    assert (query["sandbox"], query["id"]) == ([sandbox], [job_id])


@given(ids, ids)
def test_a_file_has_a_name_that_every_file_system_takes(sandbox: str, job_id: str) -> None:
    """Lower case only, as some file systems do not tell A from a; nothing that leads elsewhere."""
    for name in (job_file(sandbox, job_id), dataset_file(sandbox, job_id)):
        folder, _, file = name.partition("/")
        assert folder in {"job", "dataset"}
        assert re.fullmatch(r"[a-z0-9_-]{1,64}\.[a-z0-9_-]{1,64}\.html", file)
        assert not re.match(r"(con|prn|aux|nul|com\d|lpt\d)\.", file)


@given(st.sets(ids, min_size=2, max_size=2))
def test_two_ids_never_share_a_file_or_a_place(two: set[str]) -> None:
    """Otherwise one job's page would replace another's."""
    one, other = two
    assert job_file("prod", one) != job_file("prod", other)
    assert job_file(one, "1") != job_file(other, "1")
    assert anchor("prod", one) != anchor("prod", other)


def test_the_places_of_two_sandboxes_differ() -> None:
    """Names and sandboxes may have hyphens."""
    assert anchor("prod", "eu-nightly") != anchor("prod-eu", "nightly")


def test_a_snapshot_links_only_to_pages_that_it_has() -> None:
    """And from where the page is."""
    to = FileAddresses("../", {("prod", "1")}, {("prod", "d")})
    assert to.job("prod", "1") == "../job/prod.1.html"
    assert to.dataset("prod", "d") == "../dataset/prod.d.html"
    assert to.job("dev", "1") is None
    assert to.dataset("prod", "1") is None
    assert to.overview == "../index.html"
    assert to.expectation("prod", "n") == "../expectations.html#expectation.prod.n"
