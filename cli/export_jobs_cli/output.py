"""Prints to one console; without a terminal as plain text, one record per line, never wrapped.

Text from outside goes through `plain`, or `plain_lines` if it has lines of our own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any

import typer
from export_jobs.contract.text import one_line
from export_jobs.contract.times import rfc3339
from rich.console import Console
from rich.markup import escape  # noqa: TID251  what `plain` is made of
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
    "OK": "green",
    "GOOD": "green",
    "MUTED": "yellow",
    "OVERDUE": "bold red",
    "NEVER_STARTED": "bold red",
    "STILL_RUNNING": "bold red",
    "EMPTY": "bold red",
    "TOO_FEW": "bold red",
}


_NOT_WRAPPED = 100_000
"""The width without a terminal: a program, a file or a pipe gets each record on one line."""


def console(*, stderr: bool = False) -> Console:
    """Makes a console without emoji: Rich would replace the `:secret:` in an ARN."""
    made = Console(highlight=False, emoji=False, stderr=stderr)
    if not made.file.isatty():  # whatever FORCE_COLOR says, which Rich takes for a terminal
        made = Console(
            highlight=False, emoji=False, stderr=stderr, width=_NOT_WRAPPED, force_terminal=False
        )
    return made


def plain(text: str) -> str:
    """Text from outside as markup: shown as it is, on one line, without acting in the terminal."""
    return escape(one_line(text))


def plain_lines(text: str) -> str:
    """The same for a text of several lines, which keep their indentation."""
    return "\n".join(
        line[: len(line) - len(line.lstrip(" "))] + plain(line) for line in text.split("\n")
    )


def error(text: str) -> None:
    """Prints an error that the user can fix, on standard error."""
    console(stderr=True).print(f"error: {plain_lines(text)}", style="red", soft_wrap=True)


def print_body(text: str) -> None:
    """Prints the body of a message: unchanged and in UTF-8, or safely if this is a terminal."""
    if console().is_terminal:
        typer.echo("\n".join(one_line(line) for line in text.splitlines()))
        return
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(f"{text}\n")  # typer would take terminal escapes out


def print_json(value: Any) -> None:
    typer.echo(json_text(value, indent=2))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON in which a character that could act in a terminal is escaped; others are readable.

    Where the output has another encoding than UTF-8, it is ASCII.
    """
    in_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=indent, ensure_ascii=not in_unicode)
    return re.sub(r"[^\n -~]", _printable_or_escaped, text)


def _printable_or_escaped(found: re.Match[str]) -> str:
    if found[0].isprintable():
        return found[0]
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def styled(status: str | None) -> str:
    """A status as markup, in its colour."""
    style = _STYLES.get(status or "")
    text = plain(status or "")
    return f"[{style}]{text}[/]" if style else text


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    shrinking: Sequence[str] = (),
    title: str | None = None,
) -> Table:
    """Makes a table without lines; cells are markup.

    If it is too wide, the gaps get smaller, and then the columns in `shrinking` are cut. The others
    stay whole, even if a line gets longer than the console.
    """
    widths = [max(_width(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    too_wide = sum(widths) + 2 * (len(widths) - 1) > console().width
    padding = (0, 1 if too_wide else 2, 0, 0)
    made = Table(box=None, pad_edge=False, padding=padding, title=title, title_justify="left")
    for name, width in zip(columns, widths, strict=True):
        made.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="ellipsis",
            no_wrap=name not in shrinking,
            min_width=None if name in shrinking else width,
        )
    for row in rows:
        made.add_row(*row)
    return made


def print_table(target: Console, made: Table) -> None:
    """Prints a table; without a terminal, its lines have no trailing blanks."""
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
    """Prints records whose last column is a text of any length; cells are markup.

    On a terminal the text is wrapped below its record; elsewhere each record is one line.
    """
    if not rows:
        target.print("none")
    elif not target.is_terminal:
        print_table(target, table(columns, rows))
    else:
        for *cells, text in rows:
            first, *others = cells
            target.print("  ".join([f"[bold]{first}[/]", *filter(None, others)]), soft_wrap=True)
            if text:
                target.print(Padding(text, (0, 0, 0, 2)))


def moment(epoch_ms: int | None) -> str:
    """`2026-01-31 02:00:05` in UTC, as in the events and the logs."""
    if not epoch_ms:
        return ""
    return rfc3339(epoch_ms)[:19].replace("T", " ")


def number(value: int | None) -> str:
    """`1,234,567`; empty if it is unknown."""
    return "" if value is None else f"{value:,}"


def facts(target: Console, lines: Sequence[tuple[str, str | None]], *, details: str = "") -> None:
    """Prints one name and value per line, values as markup; skips names without a value.

    Without a terminal, values are not wrapped. `details` is a command that shows more: the last
    line, never wrapped, so that it can be copied.
    """
    shown = [(name, value) for name, value in lines if value]
    unwrapped = [("details", plain(details))] if details else []
    width = max((_width(name) for name, _ in (*shown, *unwrapped)), default=0)
    if target.is_terminal:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="dim", min_width=width)
        grid.add_column(overflow="fold")
        for name, value in shown:
            grid.add_row(name, value)
        target.print(grid)
    else:
        unwrapped = [*shown, *unwrapped]
    for name, value in unwrapped:
        blanks = " " * (width - _width(name))
        target.print(f"[dim]{name}[/]{blanks}  {value}", soft_wrap=True)


def _width(markup: str) -> int:
    """The width in columns, as printed."""
    return Text.from_markup(markup, emoji=False).cell_len
