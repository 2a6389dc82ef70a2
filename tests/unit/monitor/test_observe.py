"""How far a listing is read, and what is looked up instead: a property over random jobs."""

from __future__ import annotations

import math

from export_jobs.monitor.observe import pages_worth_reading
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000_000


@given(
    st.lists(st.integers(0, 10_000), max_size=30),
    st.integers(1, 1_000),
)
def test_paging_goes_on_exactly_as_far_as_it_is_the_cheapest(ages: list[int], span: int) -> None:
    """Of all ways to divide the jobs between pages and look-ups, it takes one with fewest calls."""
    reach = 20_000
    unmet = [reach - age for age in ages]

    def calls(pages: int) -> int:
        return pages + sum(max(1, math.ceil(age / span)) > pages for age in ages)

    chosen = pages_worth_reading(unmet, reach=reach, span_per_page=span)
    assert calls(chosen) == min(calls(pages) for pages in range(max(ages, default=0) // span + 2))
