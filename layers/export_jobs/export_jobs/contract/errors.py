"""How a call can fail, each kind saying what to do. No message ever holds a token or a secret.

Of a create call, `OutcomeUnknown` alone means that a job may have been created. After any other of
these, surely none was.
"""

from __future__ import annotations


class SegmentationError(Exception):
    """A call to the Segmentation service or to IMS did not end well. Catch a subclass to decide.

    `retry_after_s` is what the answer asked for, in seconds, an hour at most; None if it did not say.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class RetryLater(SegmentationError):
    """Not done, and worth another try: throttled, overloaded, out of reach, or not sent at all."""


class NotSent(RetryLater):
    """Not sent, by our own choice: there was no time left for it. It says nothing about the service."""


class OutcomeUnknown(SegmentationError):
    """A create call was sent, and no answer says what came of it: the job may exist.

    Look before trying again.
    """


class BadCredentials(SegmentationError):
    """IMS refuses the client, or the service its fresh token. Correct the secret; then try again."""


class Forbidden(SegmentationError):
    """The API key, the organisation or a permission is wrong. Correct it in Adobe's consoles."""


class NotFound(SegmentationError):
    """There is no such job in this organisation and sandbox."""


class Refused(SegmentationError):
    """The service refuses this request for good; the message says why."""


class NotUnderstood(SegmentationError):
    """The answer is not one this client can read, or not one it may follow."""
