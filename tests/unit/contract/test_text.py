"""Text and JSON in any encoding, and text from outside on one line."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from export_jobs.contract.text import DoubledKeys, decode_json, decode_text, json_path, one_line
from hypothesis import given
from hypothesis import strategies as st

TEXT = '{"é": "x"}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_utf_8_and_marked_utf_16_are_read(encoding: str) -> None:
    """Field case 17: with a byte order mark, as Windows writes one; it is not part of the text."""
    assert decode_text(TEXT.encode(encoding)) == TEXT
    assert decode_json(TEXT.encode(encoding)) == {"é": "x"}


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (TEXT.encode("utf-16-le"), "UTF-16"),
        (TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("utf-32"), "UTF-32"),
        (TEXT.encode("utf-32-be"), "UTF-32"),
        (TEXT.encode("cp1252"), "it is not UTF-8, at byte 3"),
        (b"\xef\xbb\xbf\xff", "it is not UTF-8, at byte 1"),
        (b"\xff\xfe{\x00\x00\xd8", "it is not UTF-16"),
    ],
)
def test_any_other_encoding_is_named(raw: bytes, names: str) -> None:
    """With what to use instead."""
    with pytest.raises(ValueError, match=names) as caught:
        decode_text(raw)
    assert str(caught.value).endswith("use UTF-8")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("\ufeff" + TEXT, None),
        ("\ufeff\ufeff" + TEXT, None),
        ((b"\xef\xbb\xbf" + TEXT.encode()).decode("cp1252"), "UTF-8 that was read with another"),
        (TEXT.encode("utf-16").decode("latin-1"), "UTF-16 that was read with another"),
    ],
)
def test_a_mark_may_already_be_decoded(text: str, names: str | None) -> None:
    """A queue delivers text: with its mark, or with what another encoding has made of it."""
    if names is None:
        assert decode_json(text) == {"é": "x"}
    else:
        with pytest.raises(ValueError, match=names):
            decode_json(text)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"a": 1, "a": 1}', ("a",)),
        ('{"filter": {}, "fil\\u0074er": null}', ("filter",)),
        ('{"a": [{"b": {"c": 1, "c": 2}}]}', ("a[0].b.c",)),
        ('{"a": {"x": 1, "x": 2}, "b": 1, "b": 2, "b": 3}', ("a.x", "b")),
        ('{"a": {"b": 1, "c": {"b": 1}}, "b": 1}', ()),
    ],
)
def test_a_doubled_key_is_named_on_demand(text: str, paths: tuple[str, ...]) -> None:
    """Wherever it is and however it is written; the same key in two objects is none."""
    decode_json(text)
    with pytest.raises(DoubledKeys) if paths else nullcontext() as caught:
        decode_json(text, refuse_doubled_keys=True)
    if caught:
        assert caught.value.paths == paths


def test_what_json_lacks_is_refused_and_half_a_character_is_replaced() -> None:
    """No encoding can represent it."""
    for text in ('{"a": NaN}', "[Infinity]", "-Infinity"):
        with pytest.raises(ValueError, match="is not JSON"):
            decode_json(text)
    assert decode_json('["\\ud800", "\\ud83d\\ude00"]') == ["�", "😀"]


def test_a_place_in_a_document_has_a_name() -> None:
    """As in the errors about a request."""
    assert json_path("filter", "segments", 0, "segmentId") == "filter.segments[0].segmentId"
    assert json_path(0, "a") == "[0].a"
    assert json_path() == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Job aborted.", "Job aborted."),
        ("a\r\nb\u2028c\x85d\x0be\tf\u00a0g", "a b c d e f g"),
        ("\x1b[31mred\x1b]8;;x\x07", "�[31mred�]8;;x�"),
        ("\x9b2J", "�2J"),
        ("user\u202egpj.exe\u2066", "user�gpj.exe�"),
        ("\x00\x7f\ufeff\ufffe\ud800\U000e0001", "������"),
        ("  プロファイル 😀  ", "プロファイル 😀"),
        ("", ""),
    ],
)
def test_text_from_outside_becomes_one_harmless_line(text: str, line: str) -> None:
    """Line ends are spaces; what can't be shown, or acts in a terminal, is a mark."""
    assert one_line(text) == line


@given(st.text(st.characters(codec=None)))
def test_one_line_is_printable_and_stays_as_it_is(text: str) -> None:
    """Whatever it was made of; doing it again changes nothing."""
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    assert one_line(line) == line
    line.encode()


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_json_without_doubled_keys_is_read_in_either_way(value: Any, encoding: str) -> None:
    """Whatever its encoding."""
    raw = json.dumps(value, ensure_ascii=False).encode(encoding, "surrogatepass")
    try:
        expected = decode_json(raw)
    except ValueError:
        return  # half a surrogate pair
    assert decode_json(raw, refuse_doubled_keys=True) == expected
