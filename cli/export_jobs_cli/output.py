"""How the commands print: one console; without a terminal plain, one record a line, never wrapped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

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


_NOT_WRAPPED = 100_000
"""The width of what is not a terminal: a program, a file or a pipe gets each record in one line."""


def console(*, stderr: bool = False) -> Console:
    """Without emoji: Rich would replace the `:secret:` in an ARN."""
    made = Console(highlight=False, emoji=False, stderr=stderr)
    if not made.is_terminal:
        made = Console(highlight=False, emoji=False, stderr=stderr, width=_NOT_WRAPPED)
    return made


def error(text: str) -> None:
    """Prints what a user has to correct, on standard error."""
    console(stderr=True).print(f"error: {text}", style="red", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def styled(status: str | None) -> str:
    """A status as markup, in its colour."""
    style = _STYLES.get(status or "")
    text = escape(status or "")
    return f"[{style}]{text}[/]" if style else text


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    shrinking: Sequence[str] = (),
    title: str | None = None,
) -> Table:
    """A table without lines; cells are markup.

    Where it is too wide, the columns get closer; then those in `shrinking` are cut, and no others:
    these stay whole, even if a line gets longer than the console.
    """
    wholes = [max(_width(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    too_wide = sum(wholes) + 2 * (len(wholes) - 1) > console().width
    apart = (0, 1 if too_wide else 2, 0, 0)
    made = Table(box=None, pad_edge=False, padding=apart, title=title, title_justify="left")
    for name, whole in zip(columns, wholes, strict=True):
        made.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="ellipsis",
            no_wrap=name not in shrinking,
            min_width=None if name in shrinking else whole,
        )
    for row in rows:
        made.add_row(*row)
    return made


def print_table(target: Console, made: Table) -> None:
    """A table, whose lines end without blanks where they are not on a terminal."""
    if target.is_terminal:
        target.print(made, crop=False)
        return
    with target.capture() as captured:
        target.print(made, crop=False)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def print_records(
    target: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> None:
    """Records whose last column is a text of any length, cells as markup.

    On a terminal the text stands below its record, wrapped; elsewhere each record is one line.
    """
    if not rows:
        target.print("none")
    elif not target.is_terminal:
        print_table(target, table(columns, rows))
    else:
        for *cells, text in rows:
            first, *others = cells
            target.print("  ".join([f"[bold]{first}[/]", *filter(None, others)]), soft_wrap=True)
            target.print(Padding(text, (0, 0, 0, 2)))


def moment(epoch_ms: int | None) -> str:
    """`2026-01-31 02:00:05` in UTC, as in the events and the logs."""
    if not epoch_ms:
        return ""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def facts(target: Console, lines: Sequence[tuple[str, str | None]]) -> None:
    """Names and values below each other, values as markup; what has no value is left out.

    A value is in one line where that is not on a terminal.
    """
    shown = [(name, value) for name, value in lines if value]
    if not target.is_terminal:
        width = max((_width(name) for name, _ in shown), default=0)
        for name, value in shown:
            blanks = " " * (width - _width(name))
            target.print(f"{name}{blanks}  {value}", soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in shown:
        grid.add_row(name, value)
    target.print(grid)


def _width(markup: str) -> int:
    """In columns, as it is shown."""
    return Text.from_markup(markup, emoji=False).cell_len
