"""How long things take at the most: the times that both functions reckon with, each in one place.

In milliseconds where a name ends with MS, in seconds where it ends with S. What depends on the
functions' time-outs is derived from them; a test compares those with the template's.
"""

from __future__ import annotations

MONITOR_TIMEOUT_S = 300
CREATOR_TIMEOUT_S = 120
"""The longest run of each function: `Timeout` in template.yaml."""

CLOCKS_MS = 120_000
"""What two clocks may differ by, ours and the service's or those of two of our runs."""
LEASE_MS = max(MONITOR_TIMEOUT_S, CREATOR_TIMEOUT_S) * 1000 + 60_000
"""A lease on publishing that is older was some run's that has ended by now."""

SEND_WITHIN_MS = 30_000
"""A create call is sent within this time from its attempt, or never."""
CALL_MS = 30_000
"""The longest from the moment a create call is sent to the end of its answer: `transport.MAX_SENT_S`."""
SHOWS_MS = 180_000
"""How long a job may take to show in the listing after its create call was sent."""
HOLDS_ANSWER_MS = CREATOR_TIMEOUT_S * 1000 + CLOCKS_MS
"""No run holds the answer to a create call any more when its attempt is so old."""
LISTINGS_APART_MS = 30_000
"""Of two listings that did not show a job, so that they are not of one bad moment."""
OUTCOME_KNOWN_WITHIN_MS = 6 * 3_600_000
"""A request whose attempt can't be settled for so long ends, and is never sent again."""
FORMER_KEPT_MS = 24 * 3_600_000
"""An attempt that was given up is remembered for so long, should its job show after all."""

LINKED_SLOT_MS = 120_000
"""A query may miss a job that was linked in a transaction; so its slot stays for this time."""

HOLD_FIRST_MS = 60_000
HOLD_MOST_MS = 15 * 60_000
"""How long a sandbox's line is held after a failure: doubled from the first to the most."""
RETRY_AFTER_MOST_MS = 3_600_000
"""A `Retry-After` is honoured up to this."""

UNSEEN_MS = 15 * 60_000
"""How long a cancel request waits for the request it names."""
CANCEL_AGAIN_MS = 30_000
"""A cancel request that can't be carried out yet is looked at again after this time."""
WAKE_UP_MS = 5 * 60_000
"""A wake-up that is older says nothing any more."""
