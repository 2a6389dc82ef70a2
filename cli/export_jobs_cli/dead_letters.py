"""`dlq`: lists dead letters with their reasons, redrives and deletes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from export_jobs.contract import RequestInvalid
from export_jobs.contract.times import rfc3339
from export_jobs.creator.message import Letter, Message, hints_in, read_request
from export_jobs.model.records import RequestRecord

from export_jobs_cli import output
from export_jobs_cli.errors import UserError
from export_jobs_cli.requests import Ending, Sent, checked
from export_jobs_cli.stack import DeployedSystem

HIDDEN_S = 30
"""How long letters are hidden while they are read, so that every receive returns others."""
EMPTY_ANSWERS = 2
"""SQS samples its servers, so one empty answer does not mean that the queue is empty."""


MOVED_BY_SQS = (
    "SQS moved it here after too many deliveries, and it has no record; read the creator's log"
)


MAY_HAVE_A_JOB = (
    "its create call may have created a job, and a redrive may create a second: look for the job "
    "first; if there is none, redrive this one by its KEY"
)


@dataclass(frozen=True)
class DeadLetter:
    """A message of the dead-letter queue, and the record of its rejected request.

    A message that SQS moved there was not rejected: it has neither a record nor a letter.
    """

    message_id: str
    receipt: str
    body: str
    request_key: str
    reason: str
    sent_at: int
    letter: Letter | None = None
    record: RequestRecord | None = None

    @property
    def event_id(self) -> str | None:
        """The id of its rejection's event."""
        return self.letter.event_id if self.letter else None

    @property
    def may_have_a_job(self) -> bool:
        return self.record is not None and self.record.outcome == "OUTCOME_UNKNOWN"

    @property
    def tries(self) -> int | None:
        """How often its request was rejected, including this time."""
        if self.record is None or self.letter is None:
            return None
        rejections = (*self.record.rejections, self.record.event_id)
        return rejections.index(self.letter.event_id) + 1

    def as_json(self) -> dict[str, Any]:
        return {
            "requestKey": self.request_key,
            "reason": self.reason,
            "rejectedAt": rfc3339(self.sent_at),
            "tries": self.tries,
            "messageId": self.message_id,
            "eventId": self.event_id,
            "body": self.body,
        }


@contextmanager
def received(system: DeployedSystem) -> Iterator[list[DeadLetter]]:
    """Yields all dead letters, oldest first; those not deleted are visible again afterwards."""
    sqs, url = system.client("sqs"), system.outputs["DeadLetterQueueUrl"]
    letters: dict[str, Any] = {}
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
            letters.update({m["MessageId"]: m for m in messages})
            empty = 0 if fresh else empty + 1
        yield sorted(_letters_of(system, letters.values()), key=lambda letter: letter.sent_at)
    finally:
        for message in letters.values():
            _show_again(sqs, url, message["ReceiptHandle"])


def _show_again(sqs: Any, url: str, receipt: str) -> None:
    try:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    except sqs.exceptions.ClientError:
        return  # deleted, or already visible again


def _letters_of(
    system: DeployedSystem, messages: Iterable[Mapping[str, Any]]
) -> Iterator[DeadLetter]:
    """Uses attributes only if a record confirms them: any sender can set them."""
    as_received = [
        Message(
            message_id=message["MessageId"],
            body=message["Body"],
            sent_at=int(message.get("Attributes", {}).get("SentTimestamp") or 0),
            attributes={
                name: value.get("StringValue", "")
                for name, value in message.get("MessageAttributes", {}).items()
            },
        )
        for message in messages
    ]
    records = system.store.requests([m.letter.record_key for m in as_received if m.letter])
    receipts = {message["MessageId"]: message["ReceiptHandle"] for message in messages}
    for message in as_received:
        letter = message.letter
        record = records.get(letter.record_key) if letter else None
        ours = letter and record and letter.event_id in {record.event_id, *record.rejections}
        yield DeadLetter(
            message_id=message.message_id,
            receipt=receipts[message.message_id],
            body=message.body,
            request_key=letter.request_key
            if letter and ours
            else hints_in(message.body).request_key or message.message_id,
            reason=message.attributes.get("reason", "") if ours else MOVED_BY_SQS,
            sent_at=message.sent_at,
            letter=letter if ours else None,
            record=record if ours else None,
        )


def show_list(system: DeployedSystem, letters: Sequence[DeadLetter]) -> None:
    console = output.console()
    if not letters:
        console.print("no dead letters")
        return
    rows = [
        [
            output.plain(letter.request_key),
            f"{output.moment(letter.sent_at)} UTC",
            "rejected" if letter.letter else "moved",
            f"tried {letter.tries} times" if (letter.tries or 1) > 1 else "",
            output.plain(letter.reason),
        ]
        for letter in letters
    ]
    columns = ("request", "since", "how", "tries", "reason")
    output.print_records(console, columns, rows)
    if not console.is_terminal:
        return
    to_show, to_redrive, to_delete = (
        output.plain(system.command(command, "KEY"))
        for command in ("dlq show", "dlq redrive --body corrected.json", "dlq delete")
    )
    console.print(
        "\nTo correct and redrive one, or to delete it:\n"
        f"  {to_show} > corrected.json\n  {to_redrive}\n  {to_delete}",
        style="dim",
        soft_wrap=True,
    )


def of(system: DeployedSystem, letters: Sequence[DeadLetter], key: str) -> list[DeadLetter]:
    """The dead letters of a request, oldest first. Raises UserError if there is none."""
    found = [letter for letter in letters if letter.request_key == key]
    if not found:
        raise UserError(
            f"no dead letter has the request key {key!r}; see `{system.command('dlq list')}`"
        )
    return found


def redrive(
    system: DeployedSystem,
    letters: Sequence[DeadLetter],
    *,
    by_key: bool,
    corrected: str | None = None,
) -> tuple[list[Sent], list[tuple[DeadLetter, str]]]:
    """Sends letters back to the request queue, and deletes each once it is sent.

    Returns what was sent, and what was left, with the reason: it would be rejected again, or it may
    have a job and was not named `by_key`. `corrected` replaces the body of the only letter.
    """
    sent, left = [], []
    sqs, url = system.client("sqs"), system.outputs["DeadLetterQueueUrl"]
    for letter in letters:
        if letter.may_have_a_job and not by_key:
            left.append((letter, MAY_HAVE_A_JOB))
            continue
        body = letter.body if corrected is None else corrected
        try:
            request = read_request(body, sandboxes=system.creator.sandboxes)
        except RequestInvalid as invalid:
            if corrected is not None:
                checked(body, sandboxes=system.creator.sandboxes)  # reports it, field by field
            left.append((letter, f"still invalid: {invalid}"))
            continue
        message_id = system.send(body, **_attributes(letter))
        sqs.delete_message(QueueUrl=url, ReceiptHandle=letter.receipt)
        key = request.key or (letter.request_key if letter.letter else message_id)
        sent.append(Sent(key, message_id, body, request, rejection=letter.event_id))
    return sent, left


def _attributes(letter: DeadLetter) -> dict[str, str]:
    """The attributes by which the creator recognises a redriven message."""
    original = letter.letter
    if original is None:
        return {}
    attributes = {"requestKey": original.request_key, "eventId": original.event_id}
    if original.record_key != original.request_key:
        attributes["recordKey"] = original.record_key
    return attributes


def delete(system: DeployedSystem, letters: Sequence[DeadLetter]) -> None:
    """Deletes letters that have just been received."""
    sqs, url = system.client("sqs"), system.outputs["DeadLetterQueueUrl"]
    for letter in letters:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=letter.receipt)


def redriven_as_json(
    sent: Sequence[Sent], left: Sequence[tuple[DeadLetter, str]], ending: Ending | None
) -> dict[str, Any]:
    """`ending` is the result of the only one sent, if it was waited for."""
    return {
        "sent": [one.as_json() for one in sent],
        "left": [{"requestKey": letter.request_key, "reason": why} for letter, why in left],
        "ending": ending.as_json() if ending else None,
    }


def show_redriven(sent: Sequence[Sent], left: Sequence[tuple[DeadLetter, str]]) -> None:
    console = output.console()
    for one_sent in sent:
        console.print(f"sent back {output.plain(one_sent.request_key)}", soft_wrap=True)
    for letter, why in left:
        console.print(
            f"[yellow]left[/] {output.plain(letter.request_key)}: {output.plain(why)}",
            soft_wrap=True,
        )
    if not sent and not left:
        console.print("no dead letters")


def show_deleted(letters: Sequence[DeadLetter]) -> None:
    console = output.console()
    for letter in letters:
        console.print(f"deleted {output.plain(letter.request_key)}", soft_wrap=True)
    if not letters:
        console.print("no dead letters")
