"""The results of a part: a table, remarks and plots, as Markdown and PNG."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Plot:
    """Some series of points; with `steps`, the share of each series' values up to x."""

    name: str
    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    scale: Literal["linear", "log"] = "linear"
    steps: bool = False


@dataclass(frozen=True)
class Section:
    """`command` runs only this part again."""

    title: str
    command: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str] = ()
    plots: Sequence[Plot] = field(default=())

    def markdown(self) -> str:
        lines = [
            f"## {self.title}",
            "",
            f"`{self.command}`",
            "",
            table(self.headers, self.rows),
        ]
        for remark in self.remarks:
            lines += ["", remark]
        return "\n".join(lines) + "\n"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all but the first column are aligned to the right."""
    alignment = ["---"] + ["---:"] * (len(headers) - 1)
    lines = [f"| {' | '.join(headers)} |", f"|{'|'.join(alignment)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def put_into(page: str, name: str, text: str) -> str:
    """The page with the text between the marks `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises ValueError if the page has no such marks.
    """
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no place for {name}: {begin.strip()} … {end}")
    return f"{before}{begin}{text.strip()}\n{end}{after}"


def machine() -> str:
    """The machine of the measurements, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return f"Python {platform.python_version()}, {cores} cores, {system}"


def draw(plot: Plot, folder: Path) -> Path:
    """Writes the plot as a PNG and returns its path."""
    from matplotlib.figure import Figure  # noqa: PLC0415  slow, and not for the tests

    figure = Figure(figsize=(7.5, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    for place, (name, points) in enumerate(plot.series.items()):
        xs, ys = zip(*points, strict=True)
        style = {"drawstyle": "steps-post"} if plot.steps else {"marker": "o", "markersize": 4}
        # The first line is broad, so that it is visible under another.
        axes.plot(xs, ys, label=name, linewidth=1.5 if place else 5, **style)
    if plot.scale == "log":
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path = folder / f"{plot.name}.png"
    figure.savefig(path)
    return path
