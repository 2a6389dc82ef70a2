"""How everything the commands say looks: one console, 80 columns where there is no terminal, plain there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STYLES = {
    "SUCCEEDED": "green",
    "SUCCEEDED_WITH_ERRORS": "yellow",
    "SUCCEEDED_EMPTY": "yellow",
    "FAILED": "bold red",
    "REJECTED": "bold red",
    "VANISHED": "bold red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "PROCESSING": "cyan",
}


def console(*, stderr: bool = False) -> Console:
    made = Console(highlight=False, stderr=stderr)
    if not made.is_terminal:
        made = Console(highlight=False, stderr=stderr, width=80)
    return made


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def styled(status: str | None) -> str:
    """A status as markup, in its colour."""
    style = _STYLES.get(status or "")
    text = escape(status or "")
    return f"[{style}]{text}[/]" if style else text


def table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """A table without lines. What does not fit a line is cut with an ellipsis; `--json` has it all."""
    made = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="ellipsis",
            no_wrap=True,
        )
    return made


def moment(epoch_ms: int | None) -> str:
    """`2026-01-31 02:00:05` in UTC, as in the events and the logs."""
    if not epoch_ms:
        return ""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def facts(target: Console, lines: Sequence[tuple[str, str | None]]) -> None:
    """Names and values below each other, values as markup; what has no value is left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in lines:
        if value:
            grid.add_row(name, value)
    target.print(grid)
