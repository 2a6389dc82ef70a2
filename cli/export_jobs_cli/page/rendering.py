"""Renders pages with Jinja: every text is escaped, and none can change how others are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from export_jobs.contract.text import one_line
from export_jobs.contract.times import rfc3339
from export_jobs.events.wording import span
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from export_jobs_cli.job_list import status_of
from export_jobs_cli.output import moment, number
from export_jobs_cli.page.addresses import Addresses, anchor
from export_jobs_cli.page.charts import HEIGHT, LEFT, WIDTH
from export_jobs_cli.page.console import ConsoleLink
from export_jobs_cli.page.marks import KINDS, kind_of_job
from export_jobs_cli.page.pages import Page, Pages

HERE: Final = Path(__file__).parent
ASSETS: Final = HERE / "assets"


@dataclass(frozen=True)
class Frame:
    """What is the same on every page. `is_live`: it refreshes itself; otherwise it is a snapshot."""

    stack: str
    links: Sequence[ConsoleLink]
    is_live: bool


class Renderer:
    """Makes HTML of pages whose addresses are known."""

    def __init__(self, pages: Pages, addresses: Addresses, frame: Frame) -> None:
        self._environment = _environment()
        self._environment.globals.update(to=addresses, frame=frame, command=pages.system.command)

    def page(self, page: Page) -> str:
        template = self._environment.get_template(page.template)
        return template.render(
            title=page.title,
            read_at=page.read_at,
            commands=page.commands,
            template=page.template,
            **page.values,
        )

    def problem(
        self, title: str, text: str, *, asks_for_token: Sequence[tuple[str, str]] | None = None
    ) -> str:
        """A page without anything of the stack: an error, or the question for the token.

        `asks_for_token` has the rest of the address's query.
        """
        template = self._environment.get_template("problem.html")
        return template.render(
            title=title,
            text=text,
            asks_for_token=asks_for_token,
            read_at=None,
            commands=(),
            template="problem.html",
        )


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters.update(
        moment=lambda at: f"{moment(at)} UTC" if at else "",
        short=lambda at: moment(at)[5:16],  # for columns whose heading says that it is UTC
        span=span,
        number=number,
    )
    made.globals.update(
        KINDS=KINDS,
        anchor=anchor,
        kind_of_job=kind_of_job,
        status_of=status_of,
        iso=rfc3339,
        chart={"width": WIDTH, "height": HEIGHT, "left": LEFT},
    )
    return made


def _shown(value: Any) -> Any:
    """Text without characters that act: terminal escapes, changes of the writing direction."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return one_line(value)
    return value
