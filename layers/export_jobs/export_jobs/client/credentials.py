"""The secret for Adobe's APIs: an OAuth server-to-server credential."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from export_jobs.contract.errors import BadCredentials
from export_jobs.contract.text import OtherEncoding, decode_json

_SENDABLE = re.compile(r"[\x20-\x7e]+")
"""What OAuth allows in the parts of a credential (RFC 6749, appendix A), and a header can hold."""


class SecretUnreadable(BadCredentials):
    """The secret is not the JSON object that it must be. Names what is wrong, never a value."""


@dataclass(frozen=True)
class Credentials:
    """An OAuth server-to-server credential of an Adobe Developer Console project."""

    client_id: str
    client_secret: str = field(repr=False)
    org_id: str
    scopes: str

    @classmethod
    def from_secret(cls, value: str | bytes) -> Credentials:
        """Parses the JSON of the secret, a text or bytes. Raises SecretUnreadable."""
        try:
            secret = decode_json(value)
        except OtherEncoding as error:
            raise SecretUnreadable(f"the secret's value can't be read: {error}") from None
        except (ValueError, RecursionError):  # their text may quote the value
            raise SecretUnreadable("the secret's value is not JSON") from None
        names = ("clientId", "clientSecret", "orgId", "scopes")
        values = [secret.get(name) if isinstance(secret, dict) else None for name in names]
        missing = [
            name
            for name, value in zip(names, values, strict=True)
            if not isinstance(value, str) or not value.strip()
        ]
        if missing:
            raise SecretUnreadable(f"the secret lacks {', '.join(missing)} (non-empty strings)")
        parts = [str(value).strip() for value in values]
        odd = [n for n, part in zip(names, parts, strict=True) if not _SENDABLE.fullmatch(part)]
        if odd:
            raise SecretUnreadable(f"the secret's {', '.join(odd)} must be printable ASCII")
        return cls(*parts)
