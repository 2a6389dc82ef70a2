"""The time limits that both functions rely on, each defined once.

In milliseconds where a name ends with MS, in seconds where it ends with S. What depends on the
functions' timeouts is derived from them; a test compares those with the template's.
"""

from __future__ import annotations

DAY_MS = 24 * 3_600_000

MONITOR_TIMEOUT_S = 300
CREATOR_TIMEOUT_S = 120
"""The timeout of each function: `Timeout` in template.yaml."""

CLOCKS_MS = 120_000
"""The most by which two clocks differ: ours and the service's, or those of two of our runs."""
LEASE_MS = max(MONITOR_TIMEOUT_S, CREATOR_TIMEOUT_S) * 1000 + 60_000
"""A publishing lease that is older than this belongs to a run that has ended."""

SEND_WITHIN_MS = 30_000
"""A create call is sent within this time after its attempt was noted, or never."""
CALL_MS = 30_000
"""The longest time from sending a create call to its response's end: `transport.MAX_SENT_S`."""
SHOWS_MS = 180_000
"""How long a job may take to appear in the listing after its create call was sent."""
HOLDS_ANSWER_MS = CREATOR_TIMEOUT_S * 1000 + CLOCKS_MS
"""When an attempt is this old, no run still holds the response to its create call."""
LISTINGS_APART_MS = 30_000
"""The least time between two listings without a job, so that one glitch can't explain both."""
OUTCOME_KNOWN_WITHIN_MS = 6 * 3_600_000
"""A request whose attempt stays unsettled for this long ends, and is never sent again."""
FORMER_KEPT_MS = DAY_MS
"""How long an attempt that was given up is remembered, in case its job appears after all."""

LINKED_SLOT_MS = 120_000
"""A query may miss a job that a transaction has just linked, so its slot stays for this time."""

HOLD_FIRST_MS = 60_000
HOLD_MOST_MS = 15 * 60_000
"""The first and the longest hold on a sandbox's admission; each further failure doubles it."""
RETRY_AFTER_MOST_MS = 3_600_000
"""The longest `Retry-After` that is honoured."""

UNSEEN_MS = 15 * 60_000
"""How long a cancel request waits for the request it names."""
CANCEL_AGAIN_MS = 30_000
"""A cancel request that can't be carried out yet is tried again after this time."""
WAKE_UP_MS = 5 * 60_000
"""A wake-up that is older is ignored."""
