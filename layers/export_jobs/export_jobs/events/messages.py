"""Messages for people about an event: the subject and text of an e-mail, and a chat message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from export_jobs.contract.text import printable
from export_jobs.events.registry import kind_named
from export_jobs.events.wording import Fact
from export_jobs.model.records import Event

MAX_SUBJECT = 99
"""A subject in SNS has fewer than 100 ASCII characters."""
MAX_CHAT_TEXT = 1_500


def subject(event: Event) -> str:
    """One line of ASCII, at most MAX_SUBJECT: what happened to which export, in which sandbox."""
    sandbox = event.detail.get("sandboxName")
    line = f"[{sandbox}] {_headline(event)}" if sandbox else _headline(event)
    plain = printable(line).encode("ascii", "replace").decode()
    plain = " ".join(plain.split())
    return plain if len(plain) <= MAX_SUBJECT else plain[: MAX_SUBJECT - 3] + "..."


def email(event: Event, *, stack: str | None = None) -> str:
    """The text of an e-mail: what happened, where, since when, how it compares, what to do next.

    `stack` is the name of the stack for the suggested command.
    """
    lines = [f"{_headline(event)}.", ""]
    lines += [f"{name + ':':<20}{value}" for name, value in _facts(event)]
    lines += ["", f"Details:  {_next_step(event, stack)}", "", f"Event {event.id}"]
    return "\n".join(lines)


def chat(event: Event, *, stack: str | None = None) -> dict[str, Any]:
    """The same for a chat channel, in Amazon Q Developer's schema of custom notifications.

    https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
    """
    kind = kind_named(event.type)
    sandbox = event.detail.get("sandboxName")
    thread = kind.thread(event.detail) if kind else event.id
    mark = ":warning: " if kind and kind.is_bad_news(event.detail) else ""
    text = "\n".join(f"*{name}*: {value}" for name, value in _facts(event))
    return {
        "version": "1.0",
        "source": "custom",
        "id": event.id,
        "content": {
            "textType": "client-markdown",
            "title": mark + subject(event),
            "description": text[:MAX_CHAT_TEXT],
            "nextSteps": [f"`{_next_step(event, stack)}`"],
        },
        "metadata": {
            "threadId": f"export-{sandbox}-{thread}" if sandbox else f"export-{thread}",
            "summary": subject(event),
            "eventType": event.type,
        },
    }


# The outbox may have an event of a newer version of this software: it is published under its type.


def _headline(event: Event) -> str:
    kind = kind_named(event.type)
    return kind.headline(event.detail) if kind else event.type


def _facts(event: Event) -> Iterator[Fact]:
    """The facts that are known."""
    kind = kind_named(event.type)
    for name, value in kind.facts(event.detail) if kind else ():
        if value:
            yield name, value


def _next_step(event: Event, stack: str | None) -> str:
    kind = kind_named(event.type)
    command = kind.next_step(event.detail) if kind else "export-jobs job list"
    return f"{command} --stack {stack}" if stack else command
