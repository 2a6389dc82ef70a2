"""Calls of DynamoDB: what their failures mean, and which of them are tried again here.

botocore tries again what is throttled, times out or fails with a 5xx (three calls in all). It does not
where a write meets another transaction at the same item, though nobody has written then and nothing is
wrong: that is done here.
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
_PASSING = frozenset(
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
"""Codes of errors, and of reasons for cancelling, that say nothing against what was asked."""
_OF_ITEMS = frozenset(
    {
        "ItemCollectionSizeLimitExceeded",
        "ItemCollectionSizeLimitExceededException",
        "ValidationError",
        "ValidationException",
    }
)
"""Those that say that an item itself is at fault: too large, or not as an item may be."""


class Outrun(Exception):
    """The item is not of the version that the write replaces. `found` is what it is, if anything."""

    def __init__(self, found: Item | None) -> None:
        self.found = found
        super().__init__("somebody else wrote the item")


class Cancelled(Exception):
    """A transaction was not carried out: for each of its actions the reason, `None` where there is none."""

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
        """What the item of an action was, where its write asked to be told."""
        item: Item | None = self.reasons[position].get("Item")
        return item


@contextmanager
def meaning(doing: str) -> Iterator[None]:
    """Raises StoreUnavailable or StoreRefused for every failure of a call; `doing` is what it was for."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        passing = _code(error) in _PASSING or status >= 500
        kind = StoreUnavailable if passing else _refusal({_code(error)})
        raise kind(f"can't {doing}: {error}") from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise StoreUnavailable(f"can't {doing}: {error}") from error
    except BotoCoreError as error:  # no credentials, no region, a parameter that is none
        raise StoreRefused(f"can't {doing}: {error}") from error


def write_item(client: DynamoDBClient, write: Write, doing: str) -> None:
    """Writes one item. Raises Outrun, StoreUnavailable or StoreRefused."""
    with meaning(doing):
        try:
            if write.is_new:
                _persisting(lambda: client.put_item(**write.as_put()), _meets_a_transaction)
            else:
                _persisting(lambda: client.update_item(**write.as_update()), _meets_a_transaction)
        except ClientError as error:
            found = _found_instead(error)
            # botocore tried again, as no answer came; the first call may have had its effect.
            if found and _was_repeated(error) and write.is_in(found):
                return
            raise Outrun(found) from None


def delete(client: DynamoDBClient, write: Write, doing: str) -> None:
    """Deletes one item, under the conditions of `write`. Raises the same."""
    with meaning(doing):
        try:
            _persisting(lambda: client.delete_item(**write.as_delete()), _meets_a_transaction)
        except ClientError as error:
            raise Outrun(_found_instead(error)) from None


def transact(client: DynamoDBClient, actions: Sequence[Any], doing: str) -> None:
    """Writes all or nothing. Raises Cancelled if a condition does not hold, else as the others do.

    botocore gives every call a `ClientRequestToken`, the same when it tries again: so a call that had
    its effect, and whose answer was lost, is answered as done. (moto does not know the token.)
    """
    with meaning(doing):
        try:
            _persisting(
                lambda: client.transact_write_items(TransactItems=list(actions)), _only_conflicts
            )
        except ClientError as error:
            cancelled = Cancelled(_reasons(error))
            refusals = set(cancelled.codes) - _PASSING - {"None", "ConditionalCheckFailed"}
            if refusals:
                raise _refusal(refusals)(f"can't {doing}: {error}, {cancelled}") from error
            if cancelled.failed:
                raise cancelled from None
            if cancelled.reasons:
                raise StoreUnavailable(f"can't {doing}: {cancelled}") from error
            raise


def pause(length_s: float) -> None:
    """Sleeps for about that long: runs that met each other should not meet again."""
    time.sleep(length_s * random.uniform(0.5, 1.5))  # nosec B311  # noqa: S311  no secret depends on it


def _persisting(call: Callable[[], _T], should_try_again: Callable[[ClientError], bool]) -> _T:
    for length_s in CONFLICT_PAUSES_S:
        try:
            return call()
        except ClientError as error:
            if not should_try_again(error):
                raise
            pause(length_s)
    return call()


def _meets_a_transaction(error: ClientError) -> bool:
    return _code(error) == "TransactionConflictException"


def _only_conflicts(error: ClientError) -> bool:
    """Whether nothing but another transaction stood in the way."""
    codes = {str(reason.get("Code")) for reason in _reasons(error)}
    return "TransactionConflict" in codes and codes <= {"TransactionConflict", "None"}


def _found_instead(error: ClientError) -> Item | None:
    """The item that failed a condition. Raises any other error again."""
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
