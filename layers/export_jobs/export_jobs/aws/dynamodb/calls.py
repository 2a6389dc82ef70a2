"""Calls to DynamoDB: what their failures mean, and which of them are retried here.

botocore retries calls that are throttled, time out or fail with a 5xx (three calls in all). It does
not retry a write that conflicts with another transaction on the same item, which is retried here:
nothing was written, and nothing is wrong.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from export_jobs.aws.dynamodb.writes import Item, Write
from export_jobs.model.ports import ItemRefused, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_T = TypeVar("_T")

CONFLICT_PAUSES_S = (0.02, 0.1, 0.4)
_TEMPORARY = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Error codes and cancellation codes of temporary failures."""
_OF_ITEMS = frozenset(
    {
        "ItemCollectionSizeLimitExceeded",
        "ItemCollectionSizeLimitExceededException",
        "ValidationError",
        "ValidationException",
    }
)
"""Codes that mean that an item itself is at fault: it is too large or invalid."""


class Outrun(Exception):
    """The item does not have the version that the write replaces. `found` is the item, if any."""

    def __init__(self, found: Item | None) -> None:
        self.found = found
        super().__init__("another run has written the item")


class Cancelled(Exception):
    """A transaction was cancelled. `reasons` has one per action, whose code may be `None`."""

    def __init__(self, reasons: Sequence[Any]) -> None:
        self.reasons = reasons
        super().__init__(f"the transaction was cancelled: {', '.join(self.codes)}")

    @property
    def codes(self) -> list[str]:
        return [str(reason.get("Code")) for reason in self.reasons]

    @property
    def failed(self) -> list[int]:
        """The positions of the actions whose conditions did not hold."""
        return [n for n, code in enumerate(self.codes) if code == "ConditionalCheckFailed"]

    def found(self, position: int) -> Item | None:
        """The item of an action, if its write has `return_old`."""
        item: Item | None = self.reasons[position].get("Item")
        return item


@contextmanager
def meaning(doing: str) -> Iterator[None]:
    """Raises StoreUnavailable or StoreRefused if a call inside fails; `doing` is its purpose."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        temporary = _code(error) in _TEMPORARY or status >= 500
        kind = StoreUnavailable if temporary else _refusal({_code(error)})
        raise kind(f"can't {doing}: {error}") from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise StoreUnavailable(f"can't {doing}: {error}") from error
    except BotoCoreError as error:  # no credentials, no region, an invalid parameter
        raise StoreRefused(f"can't {doing}: {error}") from error


def write_item(client: DynamoDBClient, write: Write, doing: str) -> None:
    """Writes one item. Raises Outrun, StoreUnavailable or StoreRefused."""
    with meaning(doing):
        try:
            if write.is_new:
                _with_retries(lambda: client.put_item(**write.as_put()), _is_conflict)
            else:
                _with_retries(lambda: client.update_item(**write.as_update()), _is_conflict)
        except ClientError as error:
            found = _found_instead(error)
            # botocore has retried a call without a response, which may have had its effect.
            if found and _was_repeated(error) and write.is_in(found):
                return
            raise Outrun(found) from None


def delete(client: DynamoDBClient, write: Write, doing: str) -> None:
    """Deletes one item under the conditions of `write`. Raises the same."""
    with meaning(doing):
        try:
            _with_retries(lambda: client.delete_item(**write.as_delete()), _is_conflict)
        except ClientError as error:
            raise Outrun(_found_instead(error)) from None


def transact(client: DynamoDBClient, actions: Sequence[Any], doing: str) -> None:
    """Writes all or nothing. Raises Cancelled if a condition fails, or what the others raise.

    botocore sends a `ClientRequestToken`, the same one when it retries: so a call that had its
    effect, but whose response was lost, succeeds in the retry. (moto ignores the token.)
    """
    with meaning(doing):
        try:
            _with_retries(
                lambda: client.transact_write_items(TransactItems=list(actions)), _only_conflicts
            )
        except ClientError as error:
            cancelled = Cancelled(_reasons(error))
            refusals = set(cancelled.codes) - _TEMPORARY - {"None", "ConditionalCheckFailed"}
            if refusals:
                raise _refusal(refusals)(f"can't {doing}: {error}, {cancelled}") from error
            if cancelled.failed:
                raise cancelled from None
            if cancelled.reasons:
                raise StoreUnavailable(f"can't {doing}: {cancelled}") from error
            raise


def pause(length_s: float) -> None:
    """Sleeps for about that long, with jitter, so that runs that collided don't collide again."""
    time.sleep(length_s * random.uniform(0.5, 1.5))  # nosec B311  # noqa: S311  no secret


def _with_retries(call: Callable[[], _T], should_try_again: Callable[[ClientError], bool]) -> _T:
    for length_s in CONFLICT_PAUSES_S:
        try:
            return call()
        except ClientError as error:
            if not should_try_again(error):
                raise
            pause(length_s)
    return call()


def _is_conflict(error: ClientError) -> bool:
    return _code(error) == "TransactionConflictException"


def _only_conflicts(error: ClientError) -> bool:
    """Whether conflicts with other transactions are the only reason."""
    codes = {str(reason.get("Code")) for reason in _reasons(error)}
    return "TransactionConflict" in codes and codes <= {"TransactionConflict", "None"}


def _found_instead(error: ClientError) -> Item | None:
    """The item that failed a condition. Re-raises any other error."""
    if _code(error) != "ConditionalCheckFailedException":
        raise error
    response: Any = error.response
    found: Item | None = response.get("Item")
    return found


def _was_repeated(error: ClientError) -> bool:
    return bool(error.response.get("ResponseMetadata", {}).get("RetryAttempts"))


def _reasons(error: ClientError) -> Sequence[Any]:
    response: Any = error.response
    reasons: Sequence[Any] = response.get("CancellationReasons", [])
    return reasons


def _refusal(codes: set[str]) -> type[StoreRefused]:
    return ItemRefused if codes & _OF_ITEMS else StoreRefused


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
