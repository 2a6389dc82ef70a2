"""How a call can fail, one class for each reaction. No message ever contains a token or a secret.

After a create call, only `OutcomeUnknown` means that a job may have been created. Any other of
these means that none was.
"""

from __future__ import annotations


class SegmentationError(Exception):
    """A call to the Segmentation Service or to IMS failed. Catch a subclass to decide what to do.

    `retry_after_s` is the wait that the response asks for, in seconds, at most an hour; or None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class RetryLater(SegmentationError):
    """Not done, but worth retrying: throttled, overloaded, unreachable or not sent at all."""


class NotSent(RetryLater):
    """Not sent, by our own decision: no time was left. It indicates no problem of the service."""


class OutcomeUnknown(SegmentationError):
    """A create call was sent, and no response shows its outcome: the job may exist.

    Look for the job before you try again.
    """


class BadCredentials(SegmentationError):
    """IMS refuses the client, or the service a fresh token. Correct the secret, then retry."""


class Forbidden(SegmentationError):
    """The API key, the organisation or a permission is wrong. Correct it in Adobe's consoles."""


class NotFound(SegmentationError):
    """There is no such job in this organisation and sandbox."""


class Refused(SegmentationError):
    """The service refuses this request permanently; the message has the reason."""


class NotUnderstood(SegmentationError):
    """The client can't parse the response, or must not follow it."""
