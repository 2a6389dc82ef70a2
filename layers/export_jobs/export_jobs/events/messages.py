"""Messages for people about an event: the subject and text of an e-mail, and a chat message.

Values from outside are shown as they are and never interpreted. In an e-mail they are on one line;
in a chat they are code, in which neither mentions nor links nor formatting work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from export_jobs.contract.text import one_line
from export_jobs.events.registry import EventKind, kind_named
from export_jobs.events.wording import MAX_SUBJECT, Detail, Fact, Quote, command_line
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import Event

MAX_CHAT_TEXT = 1_500
MAX_CHAT_VALUE = 300
"""Characters of one value in a chat message, before they are escaped."""
_CHAT_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "\N{MODIFIER LETTER GRAVE ACCENT}"}
"""Slack takes the first three in code, too; a backtick would end the code, and can't be escaped.

https://api.slack.com/reference/surfaces/formatting
"""


def subject(event: Event) -> str:
    """One line of ASCII, at most MAX_SUBJECT: what happened to which export, in which sandbox."""
    plain = one_line(_headline(event, one_line)).encode("ascii", "replace").decode()
    return plain if len(plain) <= MAX_SUBJECT else plain[: MAX_SUBJECT - 3] + "..."


def email(event: Event, *, stack: str | None = None, names: Names = NO_NAMES) -> str:
    """The text of an e-mail: what happened, where, since when, how it compares, what to do next.

    `stack` is the name of the stack for the suggested command; `names` are those of the sandbox.
    """
    lines = [f"{_happened(event, one_line)}.", ""]
    lines += [f"{name + ':':<20}{one_line(value)}" for name, value in _facts(event, names)]
    first, *more = _next_steps(event, stack)
    lines += ["", f"Details:  {first}", *(f"{'':<10}{step}" for step in more)]
    lines += ["", f"Event {event.id}"]
    return "\n".join(lines)


def chat(event: Event, *, stack: str | None = None, names: Names = NO_NAMES) -> dict[str, Any]:
    """The same for a chat channel, in Amazon Q Developer's schema of custom notifications.

    https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
    """
    kind, detail = _known(event)
    sandbox = detail.get("sandboxName")
    thread = kind.thread(detail) if kind else event.id
    mark = ":warning: " if kind and kind.is_bad_news(detail) else ""
    headline = _headline(event, _as_code)
    return {
        "version": "1.0",
        "source": "custom",
        "id": event.id,
        "content": {
            "textType": "client-markdown",
            "title": mark + headline,
            "description": _chat_text(event, names),
            "nextSteps": [_as_code(step, most=None) for step in _next_steps(event, stack)],
        },
        "metadata": {
            "threadId": one_line(f"export-{sandbox}-{thread}" if sandbox else f"export-{thread}"),
            "summary": headline,
            "eventType": event.type,
        },
    }


def _chat_text(event: Event, names: Names) -> str:
    """The facts, as many whole lines as MAX_CHAT_TEXT takes."""
    text = ""
    for name, value in _facts(event, names):
        line = f"*{name}*: {_as_code(value)}"
        if len(text) + len(line) >= MAX_CHAT_TEXT:
            break
        text += f"\n{line}" if text else line
    return text


def _as_code(value: str, *, most: int | None = MAX_CHAT_VALUE) -> str:
    line = one_line(value)
    if most is not None and len(line) > most:
        line = line[: most - 1] + "…"
    return "`" + "".join(_CHAT_ENTITIES.get(c, c) for c in line) + "`"


def _known(event: Event) -> tuple[EventKind | None, Detail]:
    """The event's kind, and its whole detail.

    The outbox may have an event of another version of this software: one of an unknown type is
    published under that, and a field that the event lacks is empty.
    """
    kind = kind_named(event.type)
    return kind, kind.whole(event.detail) if kind else event.detail


def _headline(event: Event, quote: Quote) -> str:
    """What happened, after the sandbox in brackets, if the event has one."""
    _, detail = _known(event)
    sandbox = detail.get("sandboxName")
    happened = _happened(event, quote)
    return f"[{quote(sandbox)}] {happened}" if sandbox else happened


def _happened(event: Event, quote: Quote) -> str:
    kind, detail = _known(event)
    return kind.headline(detail, quote) if kind else event.type


def _facts(event: Event, names: Names) -> Iterator[Fact]:
    """The facts that are known."""
    kind, detail = _known(event)
    for name, value in kind.facts(detail, names) if kind else ():
        if value:
            yield name, value


def _next_steps(event: Event, stack: str | None) -> list[str]:
    kind, detail = _known(event)
    if kind is None:
        return [command_line("job list", stack=stack)]
    return [kind.next_step(detail, stack), *kind.more_steps(detail, stack)]
