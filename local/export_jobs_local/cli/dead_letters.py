"""`dlq`: why requests were rejected, sending back what was mended, and deleting the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from export_jobs.contract import RequestInvalid
from export_jobs.creator.message import Message, hints_in, read_message
from export_jobs.events.build import rfc3339
from rich.markup import escape
from rich.padding import Padding

from export_jobs_local.cli import output
from export_jobs_local.cli.deployed import DeployedSystem
from export_jobs_local.cli.errors import UserError
from export_jobs_local.cli.requests import Ending, Sent, checked

HIDDEN_S = 30
"""Letters are hidden for so long while they are read, so that every receive brings others."""
EMPTY_ANSWERS = 2
"""SQS samples its servers: one empty answer does not mean an empty queue."""


@dataclass(frozen=True)
class DeadLetter:
    """A message of the dead-letter queue. `redrives` counts how often it was sent back before."""

    message_id: str
    receipt: str
    body: str
    request_key: str
    reason: str
    sent_at: int
    redrives: int

    @property
    def tries(self) -> int:
        return self.redrives + 1

    def as_json(self) -> dict[str, Any]:
        return {
            "requestKey": self.request_key,
            "reason": self.reason,
            "rejectedAt": rfc3339(self.sent_at),
            "tries": self.tries,
            "messageId": self.message_id,
            "body": self.body,
        }


@contextmanager
def received(system: DeployedSystem) -> Iterator[list[DeadLetter]]:
    """All dead letters, oldest first; whatever is not deleted meanwhile is visible again after."""
    sqs, url = system.client("sqs"), system.outputs["DeadLetterQueueUrl"]
    letters: dict[str, DeadLetter] = {}
    empty = 0
    try:
        while empty < EMPTY_ANSWERS:
            messages = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=HIDDEN_S,
                WaitTimeSeconds=0 if empty == 0 else 1,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            fresh = [m for m in messages if m["MessageId"] not in letters]
            letters.update({m["MessageId"]: _letter_of(m) for m in messages})
            empty = 0 if fresh else empty + 1
        yield sorted(letters.values(), key=lambda letter: letter.sent_at)
    finally:
        for letter in letters.values():
            _show_again(sqs, url, letter)


def _show_again(sqs: Any, url: str, letter: DeadLetter) -> None:
    try:
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=letter.receipt, VisibilityTimeout=0
        )
    except sqs.exceptions.ClientError:
        return  # deleted, or visible again by now


def _letter_of(message: dict[str, Any]) -> DeadLetter:
    attributes = {
        name: value.get("StringValue", "")
        for name, value in message.get("MessageAttributes", {}).items()
    }
    own = message.get("Attributes", {})
    as_received = Message(message["Body"], attributes.get("requestKey") or message["MessageId"], 0)
    redrives = attributes.get("redrives", "")
    return DeadLetter(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        request_key=attributes.get("requestKey") or hints_in(as_received).request_key,
        reason=attributes.get("reason")
        or "failed again and again without being understood; the creator's log says why",
        sent_at=int(own.get("SentTimestamp") or 0),
        redrives=int(redrives) if redrives.isdecimal() else 0,
    )


def show_list(letters: Sequence[DeadLetter]) -> None:
    console = output.console()
    if not letters:
        console.print("no dead letters")
        return
    for letter in letters:
        console.print(f"[bold]{escape(letter.request_key)}[/]", soft_wrap=True)
        again = f", tried {letter.tries} times" if letter.tries > 1 else ""
        console.print(f"  rejected {output.moment(letter.sent_at)} UTC{again}", style="dim")
        console.print(Padding(escape(letter.reason), (0, 0, 0, 2)))
    console.print(
        f"\n{len(letters)} in all. Mend and send back, or delete:\n"
        "  export-jobs dlq show KEY > mended.json\n"
        "  export-jobs dlq redrive --key KEY --body mended.json\n"
        "  export-jobs dlq delete --key KEY",
        style="dim",
    )


def of(letters: Sequence[DeadLetter], key: str) -> list[DeadLetter]:
    """The dead letters of a request, oldest first. Raises UserError if there is none."""
    found = [letter for letter in letters if letter.request_key == key]
    if not found:
        raise UserError(f"no dead letter has the request key {key!r}; see `export-jobs dlq list`")
    return found


def redrive(
    system: DeployedSystem,
    letters: Sequence[DeadLetter],
    *,
    mended: str | None = None,
) -> tuple[list[Sent], list[tuple[DeadLetter, str]]]:
    """Sends letters back to the request queue, and deletes each once it is sent.

    Returns what was sent, and with the reason what was left where it is, because it would only be
    rejected again. `mended` replaces the body of the only letter.
    """
    sent, left = [], []
    sqs, url = system.client("sqs"), system.outputs["DeadLetterQueueUrl"]
    for letter in letters:
        body = letter.body if mended is None else mended
        try:
            request = read_message(
                Message(body, letter.request_key, 0), sandboxes=system.creator.sandboxes
            )
        except RequestInvalid as invalid:
            if mended is not None:
                checked(body, system, key=letter.request_key)  # says so, field by field
            left.append((letter, str(invalid)))
            continue
        redrives = letter.redrives + 1
        message_id = system.send(body, requestKey=letter.request_key, redrives=str(redrives))
        sqs.delete_message(QueueUrl=url, ReceiptHandle=letter.receipt)
        sent.append(
            Sent(
                request_key=request.key,
                message_id=message_id,
                action=request.action,
                sandbox=request.sandbox,
                body=body,
                body_hash=request.body_hash,
                redrives=redrives,
            )
        )
    return sent, left


def delete(system: DeployedSystem, letters: Sequence[DeadLetter]) -> None:
    """Deletes letters that were received a moment ago."""
    sqs, url = system.client("sqs"), system.outputs["DeadLetterQueueUrl"]
    for letter in letters:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=letter.receipt)


def redriven_as_json(
    sent: Sequence[Sent], left: Sequence[tuple[DeadLetter, str]], ending: Ending | None
) -> dict[str, Any]:
    """`ending` is what came of the only one sent, where it was waited for."""
    return {
        "sent": [one.as_json() for one in sent],
        "left": [{"requestKey": letter.request_key, "reason": why} for letter, why in left],
        "ending": ending.as_json() if ending else None,
    }


def show_redriven(sent: Sequence[Sent], left: Sequence[tuple[DeadLetter, str]]) -> None:
    console = output.console()
    for one_sent in sent:
        console.print(f"sent back {escape(one_sent.request_key)}", soft_wrap=True)
    for letter, why in left:
        console.print(f"[yellow]left[/] {escape(letter.request_key)}: still invalid")
        console.print(Padding(escape(why), (0, 0, 0, 2)))
    if not sent and not left:
        console.print("no dead letters")


def show_deleted(letters: Sequence[DeadLetter]) -> None:
    console = output.console()
    for letter in letters:
        console.print(f"deleted {escape(letter.request_key)}", soft_wrap=True)
    if not letters:
        console.print("no dead letters")
