"""Checks of what Adobe's side needs: the secret, the token, the API and the permissions."""

from __future__ import annotations

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError
from export_jobs.client import BadCredentials, Forbidden, Refused, RetryLater, SegmentationError
from export_jobs.model.limits import CLOCKS_MS

from export_jobs_cli.doctor.findings import WorthALook, Wrong, code_of, is_denied
from export_jobs_cli.stack import DeployedSystem

MAX_SKEW_S = CLOCKS_MS / 1000
"""The most by which the service's clock and ours may differ."""
MAY_CREATE = "export-audience-for-segment"
"""Access control's name for Adobe's permission Export Audience for Segment."""
_GATEWAY_CODE = re.compile(r'"error_code"\s*:\s*"?(\d{6})')
_IMS_CODE = re.compile(r"\(HTTP \d+, (\w+)\)")
"""How the client's errors quote the codes of Adobe's gateway and of IMS."""
_REMOVED = (
    "something between here and Adobe removes headers: check ApiBaseUrl, and the proxy or mock "
    "behind it"
)
GATEWAY_CURES = {
    "400003": _REMOVED,
    "403000": _REMOVED,
    "403010": _REMOVED,
    "401013": "IMS has just issued this token, so check that ImsTokenUrl and ApiBaseUrl belong to "
    "the same environment, and that the secret has the scopes of the project in Adobe Developer "
    "Console",
    "403003": "in Adobe Developer Console, compare clientId with the project's, and add the "
    "Experience Platform API to the project if it lacks it",
    "403025": "compare the secret's orgId with the project's organisation in Adobe Developer "
    "Console, and assign a product profile of Experience Platform to the credential",
}
"""What to do about each error of the gateway (docs/contract.md); each has another cause."""
_NO_SUCH_SANDBOX = (
    "check that Adobe has a sandbox of exactly this name, that Sandboxes names it, and that "
    "ApiBaseUrl is right"
)
_OTHERWISE: dict[type[SegmentationError], str] = {
    BadCredentials: "compare the secret with the project in Adobe Developer Console",
    Forbidden: "in Adobe's Permissions, give the credential a role with access to this sandbox and "
    "to its segments",
}
"""What to do about an error without a code of the gateway: it is the service's own."""
_IMS_CURES = {
    "invalid_client": "compare clientId and clientSecret with the project in Adobe Developer "
    "Console; if that client secret has expired or was deleted, create another one, and store it "
    "in the secret",
    "invalid_scope": "copy the scopes from the project in Adobe Developer Console into the secret",
    "unauthorized_client": "use an OAuth server-to-server credential: others get no token this way",
}
"""The same for the errors of IMS, which are OAuth's (RFC 6749, section 5.2)."""


def secret(system: DeployedSystem) -> str:
    name = system.monitor.aep_secret_id
    try:
        system.credentials()
    except ClientError as error:
        raise _secret_problem(system, error, name) or error from None
    except BadCredentials as error:
        raise Wrong(
            str(error), "store a JSON object with clientId, clientSecret, orgId and scopes in it"
        ) from None
    return "readable, with all four fields"


def _secret_problem(system: DeployedSystem, error: ClientError, name: str) -> Wrong | None:
    """A problem of the secret or its key; None for any other error."""
    code, message = code_of(error), str(error)
    if code == "ResourceNotFoundException":
        return Wrong(
            f"there is no secret {name}", "create it, or deploy with the correct AepSecretArn"
        )
    if code == "InvalidRequestException" and "marked" in message:
        return Wrong(
            f"{name} is marked for deletion",
            system.aws_command("secretsmanager restore-secret", "--secret-id", name),
        )
    if code == "DecryptionFailure":
        return Wrong(
            f"{name} can't be decrypted", "enable its KMS key, or cancel the deletion of the key"
        )
    if is_denied(error) and "kms" in message.lower():
        return Wrong(
            f"AWS denies you the KMS key of {name}",
            "get kms:Decrypt for that key (the statement DecryptTheCredential of the operator's "
            "policy), and deploy with SecretKmsKeyArn, so that the functions have it, too",
            "Not checked: doctor reads the secret with your permissions. If the functions may not "
            "use the key either, sweeps fail, and requests wait.",
        )
    return None


def token(system: DeployedSystem) -> str:
    try:
        system.api.prepare()
    except BadCredentials as error:
        otherwise = "compare the secret with the project in Adobe Developer Console"
        raise Wrong(str(error), _cure(_IMS_CODE, _IMS_CURES, error, otherwise)) from None
    except RetryLater as error:
        raise Wrong(
            str(error),
            "IMS is down or can't be reached: check status.adobe.com, the network and "
            f"{system.monitor.ims_token_url}",
            "Without a new token, calls work until the last one expires: then sweeps fail, and "
            "requests wait.",
        ) from None
    except SegmentationError as error:
        raise Wrong(str(error), "this is not how IMS answers: check ImsTokenUrl") from None
    return "issued by IMS"


def api(system: DeployedSystem, sandbox: str) -> str:
    try:
        system.api.list_jobs(sandbox, limit=1)
    except RetryLater as error:
        raise Wrong(
            str(error),
            "Adobe is down, is throttling or can't be reached: check status.adobe.com and the network, "
            "and try again later; sweeps and requests resume by themselves",
        ) from None
    except (BadCredentials, Forbidden, Refused) as error:
        otherwise = _OTHERWISE.get(type(error), _NO_SUCH_SANDBOX)
        raise Wrong(str(error), _cure(_GATEWAY_CODE, GATEWAY_CURES, error, otherwise)) from None
    except SegmentationError as error:
        raise Wrong(
            str(error),
            "this is not how the Segmentation API answers: check ApiBaseUrl; if it is right, the "
            "contract has changed: update, or report it",
        ) from None
    return "can list jobs"


def export_permission(system: DeployedSystem, sandbox: str) -> str:
    """Asks Adobe's access control; sends no create request, not even one that should be refused.

    Whether the service checks permissions before the body is not documented, so a 400 would not
    prove a permission; and a service that is more lenient than documented might create a job.
    A permission that is missing in the answer is missed only if access control knows its name.
    """
    try:
        if system.api.has_permission(sandbox, MAY_CREATE):
            return "allowed to create export jobs"
        known = system.api.knows_permission(sandbox, MAY_CREATE)
    except SegmentationError as error:
        raise _untold(str(error)) from None
    if not known:
        raise _untold(f"access control has no permission {MAY_CREATE}")
    raise Wrong(
        "the credential lacks the permission Export Audience for Segment",
        "in Adobe's Permissions, give the credential a role with Export Audience for Segment, "
        "under Profile Management, and with this sandbox",
    )


def _untold(reason: str) -> WorthALook:
    return WorthALook(
        f"can't be determined: {reason}",
        "create an export: if its request waits, the creator's log has Adobe's answer, in a line "
        "'request KEY: …'",
        "Unknown: if the credential is not allowed to create export jobs, requests wait.",
    )


def _cure(
    pattern: re.Pattern[str], cures: dict[str, str], error: SegmentationError, otherwise: str
) -> str:
    """The cure for the code that an error quotes."""
    quoted = pattern.search(str(error))
    return cures.get(quoted[1], otherwise) if quoted else otherwise


def clock(system: DeployedSystem) -> str:
    """Compares clocks. Needs no token: a refusal has a date, too."""
    before = time.time()
    try:
        answer = system.transport.send("GET", system.monitor.aep_base_url)
    except SegmentationError as error:
        raise Wrong(
            str(error),
            "check the network and ApiBaseUrl",
            "Not checked: this machine can't reach the API. The functions may be able to.",
        ) from None
    here = (before + time.time()) / 2
    date = answer.headers.get("Date", "")
    try:
        there = parsedate_to_datetime(date)
    except ValueError:
        return "not compared: the service sends no Date header that can be read"
    skew_s = here - there.replace(tzinfo=there.tzinfo or UTC).timestamp()  # -0000 is UTC, too
    if abs(skew_s) > MAX_SKEW_S:
        raise Wrong(
            f"this machine's clock is {skew_s:+.0f} s off the service's, {date}",
            "set this machine's clock; if it is right, report the service's to Adobe",
        )
    return f"within {max(1, round(abs(skew_s)))} s of the service's"
