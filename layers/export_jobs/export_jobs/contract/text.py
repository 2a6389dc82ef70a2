"""Decodes JSON, and makes text safe to pass on."""

from __future__ import annotations

import json
from typing import Any


def decode_json(text: str | bytes) -> Any:
    r"""Decodes JSON. Raises ValueError, also for NaN and Infinity, which JSON does not have.

    An escaped lone surrogate (`\ud800`) is replaced, because no encoding can represent it.
    """
    decoded = json.loads(text, parse_constant=_refuse)
    escape = b"\\ud" if isinstance(text, bytes) else "\\ud"
    if escape not in text.lower():  # type: ignore[operator]  # both are of the text's type
        return decoded
    whole = json.dumps(decoded, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    return json.loads(whole.decode("utf-16-le", "replace"))


def printable(text: str) -> str:
    """Replaces every character that a subject or an attribute can't hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
