"""Access tokens of the local IMS: signed, so that they survive a restart of the service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path


class TokenIssuer:
    """Issues tokens in the format of Adobe's (three dotted parts), and checks them."""

    def __init__(self, directory: Path, *, lifetime_s: int) -> None:
        self.lifetime_s = lifetime_s
        self._revoked_before = 0.0
        path = directory / "token.key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_bytes(secrets.token_bytes(32))
        self._key = path.read_bytes()

    def issue(self, client_id: str) -> str:
        claims = {
            "client_id": client_id,
            "created_at": time.time(),
            "expires_at": time.time() + self.lifetime_s,
            "nonce": secrets.token_hex(8),
        }
        signed = f"{_encoded(b'{}')}.{_encoded(json.dumps(claims).encode())}"
        return f"{signed}.{self._signature(signed)}"

    def is_good(self, token: str) -> bool:
        """Whether a token was issued here, and has neither expired nor been revoked."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return False
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        return bool(
            claims["expires_at"] > time.time() and claims["created_at"] > self._revoked_before
        )

    def revoke_all(self) -> None:
        """Invalidates every token issued so far, as their expiry would."""
        self._revoked_before = time.time()

    def _signature(self, signed: str) -> str:
        return _encoded(hmac.new(self._key, signed.encode(), hashlib.sha256).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
