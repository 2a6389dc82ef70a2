"""The lineage in a trace header: what it counts, and what can't be read in it."""

from __future__ import annotations

import pytest
from export_jobs_local.aws.lineage import Lineage

ONE, OTHER = "arn:aws:lambda:us-east-1:1:function:one", "arn:aws:lambda:us-east-1:1:function:other"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"


def test_invocations_are_counted_for_each_function() -> None:
    """A function's first invocation has the number 0, as in the headers that Lambda writes."""
    lineage = Lineage().invoking(ONE).invoking(OTHER).invoking(ONE)
    assert str(Lineage().invoking(ONE)).endswith(":0")
    read = Lineage.of(f"{TRACE};Lineage={lineage}")
    assert read == lineage
    assert (read.of_function(ONE), read.of_function(OTHER)) == (2, 1)
    assert read.of_function("arn:of:a:third") == 0


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        TRACE,
        f"{TRACE};Lineage=",
        f"{TRACE};Lineage=2:a87bd80c:1",
        f"{TRACE};Lineage=a87bd80c:-1|a87bd80c:1.5|a87bd80c",
        ";=;Lineage",
    ],
)
def test_a_header_without_counts_begins_a_chain(header: str | None) -> None:
    """Including one with Lambda's shorter, undocumented form."""
    assert Lineage.of(header) == Lineage()


def test_counts_around_an_unreadable_one_are_kept() -> None:
    """As in the example of AWS's own documentation, with an additional part."""
    lineage = Lineage.of("Lineage=a87bd80c:1|nonsense|c512fbe3:2;Sampled=1")
    assert lineage.invocations == {"a87bd80c": 2, "c512fbe3": 3}


def test_of_several_chains_the_most_of_each_function_counts() -> None:
    """So that no chain becomes shorter by sharing a batch."""
    first, second = Lineage({"a": 3, "b": 1}), Lineage({"a": 1, "c": 2})
    assert Lineage.highest([first, second]).invocations == {"a": 3, "b": 1, "c": 2}
    assert Lineage.highest([]) == Lineage()
