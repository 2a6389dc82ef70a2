"""Decodes text and JSON in any encoding that people send, and makes text safe to show."""

from __future__ import annotations

import codecs
import json
from typing import Any

_MARKED_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by their byte order mark; decoding removes the mark."""
_MARK = "\ufeff"
_MISREAD_MARKS = {"ï»¿": "UTF-8", "ÿþ": "UTF-16", "þÿ": "UTF-16", "\ufffe": "UTF-16"}
"""Byte order marks that somebody has decoded with another encoding than their own."""


class DoubledKeys(ValueError):
    """An object has a key more than once. `paths` names each, such as `job.filter`."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = tuple(paths)
        super().__init__(f"written more than once: {', '.join(paths)}")


class OtherEncoding(ValueError):
    """The encoding is none that is read here; the text names it, and quotes nothing."""


def decode_text(raw: bytes) -> str:
    """Decodes UTF-8, with or without a byte order mark, or UTF-16 with one; leaves out the mark.

    Raises OtherEncoding for anything else.
    """
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise OtherEncoding("it is UTF-32; use UTF-8")
    found = (encoding for mark, encoding in _MARKED_ENCODINGS.items() if raw.startswith(mark))
    encoding = next(found, "utf-8")
    if encoding == "utf-8" and 0 in raw[:2]:
        raise OtherEncoding("it is UTF-16 or UTF-32 without a byte order mark; use UTF-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        raise OtherEncoding(f"it is not {name}, at byte {error.start + 1:,}; use UTF-8") from None


def decode_json(text: str | bytes, *, refuse_doubled_keys: bool = False) -> Any:
    r"""Decodes JSON. Raises ValueError, also for NaN and Infinity, which JSON does not have.

    Bytes may have any encoding that `decode_text` takes. An escaped lone surrogate (`\ud800`) is
    replaced, because no encoding can represent it. With `refuse_doubled_keys`, raises DoubledKeys
    if an object has a key twice, of which a JSON parser silently takes one.
    """
    if isinstance(text, bytes):
        text = decode_text(text)
    text = text.lstrip(_MARK)
    for mark, encoding in _MISREAD_MARKS.items():
        if text.startswith(mark):
            raise OtherEncoding(f"it is {encoding} that was read with another encoding; use UTF-8")
    as_object = _marking_doubled_keys if refuse_doubled_keys else None
    decoded = json.loads(text, parse_constant=_refuse, object_pairs_hook=as_object)
    if refuse_doubled_keys and (paths := _doubled_keys(decoded)):
        raise DoubledKeys(paths)
    if "\\ud" not in text.lower():
        return decoded
    whole = json.dumps(decoded, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    return json.loads(whole.decode("utf-16-le", "replace"))


def json_path(*steps: str | int) -> str:
    """The name of a place in a JSON document, such as `filter.segments[0].segmentId`."""
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def one_line(text: str) -> str:
    """Text from outside on one line, with a mark for each character that can't be shown.

    Line ends become spaces. Control characters, terminal escapes and characters that change the
    direction of writing become U+FFFD.
    """
    words = " ".join(text.split())
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


class _WithDoubledKeys(dict[str, Any]):
    """An object in which keys were written more than once."""

    doubled: tuple[str, ...] = ()


def _marking_doubled_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _WithDoubledKeys(found)
    names = [name for name, _ in pairs]
    marked.doubled = tuple(name for name in found if names.count(name) > 1)
    return marked


def _doubled_keys(decoded: Any) -> list[str]:
    """The paths of all doubled keys. Also looks into the values that other values have hidden."""
    paths: list[str] = []
    left: list[tuple[tuple[str | int, ...], Any]] = [((), decoded)]
    while left:
        steps, value = left.pop()
        if isinstance(value, _WithDoubledKeys):
            paths += [json_path(*steps, name) for name in value.doubled]
        if isinstance(value, dict):
            left += [((*steps, name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            left += [((*steps, place), inner) for place, inner in enumerate(value)]
    return sorted(paths)
