"""What a check has found: its state, the consequence, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from export_jobs.aws.settings import SettingsInvalid
from export_jobs.model.ports import StoreUnavailable

from export_jobs_cli import output
from export_jobs_cli.stack import refusal, unreachable

Name = Literal[
    "AWS credentials",
    "stack",
    "monitor function",
    "creator function",
    "loop detection",
    "concurrency",
    "Adobe secret",
    "clock",
    "access token",
    "Segmentation API",
    "export permission",
    "jobs table",
    "requests table",
    "event bus",
    "alert topic",
    "alarm topic",
    "topic key",
    "alarms",
    "alarm recipients",
    "request queue",
    "queue trigger",
    "dead letters",
    "schedule",
    "last sweeps",
    "line",
    "expected exports",
]
"""Every check, in the order in which they run."""

EFFECTS: Mapping[Name, str] = {
    "AWS credentials": "Nothing else can be checked. This says nothing about the stack.",
    "stack": "Nothing else can be checked, and no command works with this stack.",
    "monitor function": "Sweeps fail or do not run: no event is published, and requests wait.",
    "creator function": "Requests stay in the queue or fail: no export is created.",
    "loop detection": "If messages ever caused a loop, Lambda would not stop them, and every "
    "run would cost money.",
    "concurrency": "Lambda may refuse runs: sweeps are skipped, and requests wait.",
    "Adobe secret": "The functions get no access token: sweeps fail, and requests wait.",
    "clock": "Commands show wrong ages. The functions of a local system use this clock, too, and "
    "may settle unfinished work too early or too late.",
    "access token": "Adobe accepts no call: sweeps fail, and requests wait.",
    "Segmentation API": "Sweeps of this sandbox fail: its jobs are not followed, and its requests "
    "wait.",
    "export permission": "Adobe refuses every create call in this sandbox: its requests wait, and "
    "no export starts.",
    "jobs table": "Sweeps and requests fail: nothing is published, and no export is created.",
    "requests table": "Requests can't be recorded: they stay in the queue, and no export is "
    "created.",
    "event bus": "Events reach no rule, and so no workflow. They wait in the outbox.",
    "alert topic": "Nobody gets an e-mail or a chat message about failed exports or rejected "
    "requests.",
    "alarm topic": "No one receives alarms. If the monitor or the creator fails, no one is "
    "notified.",
    "topic key": "Alarms are silently lost: CloudWatch can't publish to the topic, and reports it "
    "only in the alarm's history.",
    "alarms": "If the monitor or the creator fails, no one is notified.",
    "alarm recipients": "No one receives alarms. If the monitor or the creator fails, no one is notified.",
    "request queue": "Requests may be carried out late, or keep failing.",
    "queue trigger": "Requests stay in the queue: no export is created.",
    "dead letters": "These requests are not carried out unless somebody redrives them.",
    "schedule": "No sweep runs: no event is published, and requests that wait are not resumed.",
    "last sweeps": "Changes to jobs in this sandbox are not published until a sweep succeeds.",
    "line": "Requests of this sandbox wait; no export is created until then.",
    "expected exports": "No one is notified if these exports are missing.",
}
"""The consequence of a check's failure, unless the failure has one of its own."""

OPTIONAL: frozenset[Name] = frozenset(
    {
        *("loop detection", "concurrency", "topic key", "alarms", "alarm recipients"),
        "expected exports",
    }
)
"""Checks of what makes a failure worse or hides it.

Everything else is what the system needs to work at all. If AWS denies doctor a call, it can't
vouch for the system: the finding is bad. For these it is only worth a look, so that a policy
without them is enough for doctor.
"""

_PERMISSIONS = "your own AWS permissions may be too narrow; ask for read access to the stack"
_NOT_CHECKED = "Not checked: this says nothing about the stack."
BY_HAND = "docs/deploy.md, 'What was deleted by hand'"
RESTORE = (
    "create and execute a CloudFormation change set with the deployment mode REVERT_DRIFT, as an "
    f"ordinary deployment does not notice what was deleted by hand ({BY_HAND})"
)
"""What to do about a part of the stack that was deleted. A table has contents to restore as well."""
_OTHERWISE = "try again; if it fails again, check it in the AWS console"
_DENIED = ("AccessDenied", "AuthorizationError", "UnauthorizedOperation", "KMSAccessDenied")
_STALE = ("ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient", "RequestExpired")
_GONE = ("NotFound", "NoSuchEntity", "NonExistentQueue", "QueueDoesNotExist")
"""Parts of error codes that have the same meaning in several services."""
_NO_SUCH_CALL = ("404", "405", "501", "InvalidAction", "UnknownOperation", "NotImplemented")
"""The codes of an AWS, or an emulator of it, that lacks a call. AWS's own errors have names."""


@dataclass(frozen=True)
class Finding:
    """The result of one check. `look` needs attention, but is no failure.

    `effect` is what does not work, and `cure` what to do; `sandbox` is the sandbox that was
    checked, if the check runs for each.
    """

    name: Name
    state: Literal["ok", "look", "bad"]
    detail: str
    cure: str | None = None
    sandbox: str | None = None
    effect: str | None = None


class Wrong(Exception):
    """The check has failed."""

    def __init__(self, detail: str, cure: str, effect: str | None = None) -> None:
        """`effect` is the consequence, if it is not the usual one of the check."""
        self.cure = cure
        self.effect = effect
        super().__init__(detail)


class WorthALook(Wrong):
    """It works, but needs attention."""


def found(name: Name, check: Callable[[], str], *, sandbox: str | None = None) -> Finding:
    """Runs a check, which returns what is fine, or raises what is wrong with what to do."""

    def finding(state: Literal["look", "bad"], detail: str, cure: str, effect: str) -> Finding:
        return Finding(name, state, detail, cure, sandbox, effect)

    try:
        return Finding(name, "ok", check(), sandbox=sandbox)
    except Wrong as wrong:
        state: Literal["look", "bad"] = "look" if isinstance(wrong, WorthALook) else "bad"
        return finding(state, str(wrong), wrong.cure, wrong.effect or EFFECTS[name])
    except SettingsInvalid as error:
        cure = "deploy the stack again with correct parameters"
        return finding("bad", str(error), cure, EFFECTS[name])
    except ClientError as error:
        return _refused(name, sandbox, error)
    except BotoCoreError as error:
        return finding("bad", *unreachable(error), _NOT_CHECKED)
    except StoreUnavailable as error:
        if isinstance(error.__cause__, ClientError):
            return _refused(name, sandbox, error.__cause__, lost="see the tables above")
        return finding("bad", str(error), "try again", _NOT_CHECKED)


def _refused(
    name: Name, sandbox: str | None, error: ClientError, *, lost: str = RESTORE
) -> Finding:
    """What a call that AWS refused means for the check that made it.

    `lost` is the cure if what was called does not exist.
    """
    if name in OPTIONAL and code_of(error).startswith(_NO_SUCH_CALL):
        return Finding(name, "ok", f"not checked: this AWS has no {error.operation_name}")
    state: Literal["look", "bad"] = "look" if name in OPTIONAL and is_denied(error) else "bad"
    effect = EFFECTS[name] if _is_one_of(_GONE, error) else _NOT_CHECKED
    return Finding(name, state, refusal(error), _cure(error, lost), sandbox, effect)


def _cure(error: ClientError, lost: str) -> str:
    if is_denied(error):
        return _PERMISSIONS
    if _is_one_of(_STALE, error):
        return "your own AWS credentials are no longer valid: log in again, or set AWS_PROFILE"
    return lost if _is_one_of(_GONE, error) else _OTHERWISE


def is_denied(error: ClientError) -> bool:
    return _is_one_of(_DENIED, error)


def _is_one_of(parts: tuple[str, ...], error: ClientError) -> bool:
    return any(part in code_of(error) for part in parts)


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def show(finding: Finding) -> None:
    console = output.console()
    mark, style = {"ok": ("ok", "green"), "look": ("look", "yellow"), "bad": ("BAD", "bold red")}[
        finding.state
    ]
    where = f"{output.plain(finding.sandbox)}: " if finding.sandbox else ""
    console.print(
        f"[{style}]{mark:<5}[/]{output.plain(finding.name):<18}{where}{output.plain(finding.detail)}",
        soft_wrap=True,
    )
    if finding.effect:
        console.print(f"     {output.plain(finding.effect)}", soft_wrap=True)
    if finding.cure:
        console.print(f"     -> {output.plain(finding.cure)}", style="yellow", soft_wrap=True)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    good = all(finding.state != "bad" for finding in findings)
    return {"good": good, "checks": [asdict(finding) for finding in findings]}
