"""Names of datasets and segments: their item, and how seldom it is read for messages."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from export_jobs.aws.dynamodb import names as stored
from export_jobs.aws.names import KEPT_S, KeptNames
from export_jobs.contract.text import one_line
from export_jobs.model.names import MAX_NAME, NO_NAMES, Names
from export_jobs.model.ports import ItemRefused, StoreRefused, StoreUnavailable
from hypothesis import given
from support.hostile_text import hostile
from support.one_item_each import FROZEN

FROZEN_ITEM = json.loads((FROZEN / "format-1-names.json").read_text())["names"]
NAMES = Names(
    {
        "5bb4c46757920712f924a3eb": "Newsletter profiles",
        "5bb4c46757920712f924a3ec": "プロファイル 😀",
    },
    {"52c26d0d-45f2-47a2-ab30-ed06abc981ff": 'VIP: "gold"'},
)


# -- the item ------------------------------------------------------------------------------------


def test_the_item_of_format_1_is_read_for_ever() -> None:
    """Its file has what this version wrote; every later version reads it."""
    assert stored.names_of(FROZEN_ITEM) == NAMES


def test_the_item_is_written_as_it_is_kept() -> None:
    """A change in what is written fails here: it needs a new file, and perhaps a new format."""
    assert stored.written("prod", NAMES, "jobs").written == FROZEN_ITEM


def test_it_is_no_unfinished_work_of_a_sweep() -> None:
    """Without an `openKey`, it is not in the index that sweeps read."""
    assert "openKey" not in stored.written("prod", NAMES, "jobs").written


def test_names_that_were_never_written_are_none() -> None:
    """Also if the item has nothing but its keys, and what a newer version wrote is passed over."""
    assert stored.names_of(None) == NO_NAMES
    keys = {name: FROZEN_ITEM[name] for name in ("sandbox", "sk")}
    assert stored.names_of(keys) == NO_NAMES
    assert stored.names_of(FROZEN_ITEM | {"future": {"L": []}}) == NAMES


@pytest.mark.parametrize("bad", [{"N": "1"}, {"M": {}}, {"S": ""}, {"S": " \n "}, {"NULL": True}])
def test_a_name_that_was_written_badly_costs_only_itself(bad: Any) -> None:
    """The others are shown; so are those of segments if those of datasets have another type."""
    datasets = {"M": {"a": bad, "b": {"S": "Basket"}}}
    assert stored.names_of(FROZEN_ITEM | {"datasets": datasets}).datasets == {"b": "Basket"}
    other_type = stored.names_of(FROZEN_ITEM | {"datasets": bad if "M" not in bad else {"S": "x"}})
    assert other_type == Names(segments=NAMES.segments)


@given(hostile)
def test_a_name_is_read_on_one_line_and_not_too_long(text: str) -> None:
    """Whoever may write the table could otherwise make a message too long to be sent."""
    item = {"datasets": {"M": {"a": {"S": text}}}}
    for name in stored.names_of(item).datasets.values():
        assert name.isprintable()
        assert 0 < len(name) <= MAX_NAME
        assert one_line(text).startswith(name.removesuffix("…"))


def test_names_that_do_not_fit_one_item_are_refused() -> None:
    """With how large they are; nothing is cut off silently."""
    many = {f"{number:024}": "n" * MAX_NAME for number in range(3_300)}
    with pytest.raises(ItemRefused, match=r"prod take 41\d,\d{3} bytes, and at most 400,000"):
        stored.written("prod", Names(many), "jobs")


# -- shown ---------------------------------------------------------------------------------------


def test_a_name_never_hides_the_id() -> None:
    """Both are shown, in this order; without a name, only the id."""
    known = Names({"d": "Newsletter"}, {"s": "VIP"})
    assert (known.dataset("d"), known.segment("s")) == ("Newsletter (d)", "VIP (s)")
    assert (known.dataset("s"), known.segment("d")) == ("s", "d")


def test_of_many_segments_those_with_a_name_are_shown() -> None:
    """Otherwise in their order."""
    known = Names(segments={"c": "C", "b": "B"})
    assert known.few_segments(["a", "b", "c", "d"], 3) == ["B (b)", "C (c)", "a"]
    assert known.segments_in_words(["a", "b", "c", "d"], 3) == "B (b), C (c), a and 1 more"
    assert known.segments_in_words(["a", "b"], 3) == "B (b), a"
    assert known.segments_in_words(["a", "b"], 3, count=9) == "B (b), a and 7 more"


# -- reading for messages ------------------------------------------------------------------------


class Table:
    """Returns names, counts the reads and, while `error` is set, fails."""

    def __init__(self) -> None:
        self.names = NAMES
        self.reads: list[str] = []
        self.error: StoreUnavailable | None = None
        self.now = 1_000.0

    def read(self, sandbox: str) -> Names:
        self.reads.append(sandbox)
        if self.error:
            raise self.error
        return self.names

    def kept(self) -> KeptNames:
        return KeptNames(self.read, monotonic=lambda: self.now)


def test_names_are_read_once_a_sandbox() -> None:
    """Each sandbox has its own."""
    table = Table()
    kept = table.kept()
    assert [kept(sandbox) for sandbox in ("prod", "dev", "prod", "dev")] == [NAMES] * 4
    assert table.reads == ["prod", "dev"]


def test_names_are_read_again_after_ten_minutes() -> None:
    """So a process that lives long gets to know new ones."""
    table = Table()
    kept = table.kept()
    kept("prod")
    table.names = NO_NAMES
    table.now += KEPT_S - 1
    assert kept("prod") == NAMES
    table.now += 1
    assert kept("prod") == NO_NAMES
    assert table.reads == ["prod", "prod"]


@pytest.mark.parametrize("kind", [StoreUnavailable, StoreRefused])
def test_names_that_cannot_be_read_are_not_tried_with_every_message(
    kind: type[StoreUnavailable], caplog: pytest.LogCaptureFixture
) -> None:
    """One read and one warning in ten minutes; those read before stay."""
    table = Table()
    table.error = kind("throttled")
    kept = table.kept()
    with caplog.at_level(logging.WARNING):
        assert [kept("prod") for _ in range(5)] == [NO_NAMES] * 5
    assert (len(table.reads), len(caplog.records)) == (1, 1)
    table.error = None
    table.now += KEPT_S
    assert kept("prod") == NAMES
    table.error = kind("throttled")
    table.now += KEPT_S
    assert kept("prod") == NAMES
    assert len(table.reads) == 3
