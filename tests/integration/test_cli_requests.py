"""Requests at the command line: keys, states, the line, outcomes and dead letters."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
from support.command_line import Local, envelope, typed, until

pytestmark = pytest.mark.xdist_group("cli-requests")


def create(local: Local, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    return local.run("request", "create", "-", *options, stdin=body)


def service_refuses_the_next(local: Local, *, status: int = 400) -> None:
    fault = {"call": "create", "kind": "http", "status": status}
    requests.post(local.control("faults"), json=fault, timeout=10).raise_for_status()


def rejected(local: Local, key: str) -> None:
    """A request that the service has refused, with its dead letter."""
    service_refuses_the_next(local)
    assert create(local, envelope(key), "--wait").returncode == 1
    until(lambda: local.dead(key))


def jobs_of(local: Local) -> list[str]:
    return [job["jobId"] for job in local.json("job", "list")]


def test_a_key_whose_job_exists_makes_no_other(local: Local) -> None:
    """The second time, its job is shown, nothing is sent, and --wait follows that job."""
    assert create(local, envelope("used"), "--wait").returncode == 0
    before = jobs_of(local)
    again = create(local, envelope("used"))
    assert again.returncode == 0
    assert "request key 'used' was used before, on " in again.stdout
    assert f"job {before[0]}; no new export is made" in again.stdout
    waited = create(local, envelope("used"), "--wait", "--json")
    ending = json.loads(waited.stdout)
    assert (ending["jobId"], ending["messageId"]) == (before[0], None)
    assert ending["alreadyUsedAt"]
    assert jobs_of(local) == before


def test_a_key_of_another_request_is_refused_before_sending(local: Local) -> None:
    """It would only be rejected as KEY_REUSED."""
    assert create(local, envelope("taken"), "--wait").returncode == 0
    other = create(local, envelope("taken", fields="identities.id"))
    assert other.returncode == 2
    assert "used on" in other.stderr
    assert local.dead("taken") is None


def test_waiting_follows_the_tries_to_the_last_one(local: Local) -> None:
    """The exit code is the last one's; `request show` lists them, and `job show` says which it is."""
    asked = json.loads(envelope("tried-twice"))
    body = json.dumps({**asked, "retry": {"attempts": 1, "delayMinutes": 0}})
    with local.at_pace(60):
        create(local, body)
        first = until(lambda: state_of(local, "tried-twice").get("jobId"))
        ended = {"status": "FAILED", "errors": [{"code": "7", "msg": "it broke"}]}
        requests.patch(local.control(f"jobs/{first}"), json=ended, timeout=10).raise_for_status()
    second = until(lambda: another_job(local, "tried-twice", first))
    done = create(local, body, "--wait", "--json")
    ending = json.loads(done.stdout)
    assert (done.returncode, ending["jobId"], ending["tryNumber"]) == (0, second, 2)
    shown = state_of(local, "tried-twice")
    assert shown["triesLeft"] == 0
    (earlier,) = shown["tries"]
    assert (earlier["jobId"], earlier["outcome"]) == (first, "FAILED")
    assert earlier["error"] == {"code": "7", "message": "it broke"}
    printed = local.run("request", "show", "tried-twice").stdout
    assert re.search(rf"try 1 +job {first} FAILED, seen .* UTC: it broke", printed)
    assert re.search(r"\ntry +2\n", local.run("job", "show", second).stdout)
    of_first = local.run("job", "show", first).stdout
    assert re.search(r"\ntry +1; the next one not before ", of_first)
    assert f"Export job {first} FAILED; its request will be retried (try 2 of 2)" in of_first
    assert "Export request tried-twice will be retried (try 2 of 2)" in of_first


def test_a_delay_before_a_further_try_is_shown(local: Local) -> None:
    """With the time from which it waits in line; `--wait` waits for that, too; cancelling ends it."""
    asked = json.loads(envelope("between"))
    body = json.dumps({**asked, "retry": {"attempts": 1, "delayMinutes": 60}})
    with local.at_pace(60):
        create(local, body)
        first = until(lambda: state_of(local, "between").get("jobId"))
        for live in ([], ["--live"]):
            following = create(local, body, "--wait", "--json", "--timeout", "1", *live)
            assert following.returncode == 3
        requests.patch(
            local.control(f"jobs/{first}"), json={"status": "FAILED"}, timeout=10
        ).raise_for_status()
        followed = create(local, body, "--wait", "--live", "--timeout", "8")
    assert followed.returncode == 3
    assert "the request waits, for its next try, not before " in followed.stderr
    shown = state_of(local, "between")
    assert (shown["status"], shown["waitsFor"]["what"]) == ("WAITING", "RETRY")
    assert (shown["place"], shown["tryNumber"]) == (None, 2)
    assert "1 between two tries" in local.run("request", "list").stdout
    assert local.run("request", "cancel", "between", "--wait").returncode == 0
    done = create(local, body, "--wait")
    assert done.returncode == 2
    assert state_of(local, "between")["status"] == "CANCELLED"


def another_job(local: Local, key: str, first: str) -> str | None:
    job = state_of(local, key).get("jobId")
    return None if job in {None, first} else str(job)


def test_a_rejected_key_is_not_sent_again(local: Local) -> None:
    """The error shows how to retry; the old rejection is not reported as a new one."""
    rejected(local, "refused-once")
    again = create(local, envelope("refused-once"), "--wait")
    assert again.returncode == 2
    assert again.stdout == ""
    assert "was rejected on" in again.stderr
    assert "export-jobs dlq redrive --body FILE refused-once" in again.stderr
    back = local.json("dlq", "redrive", "refused-once", "--wait")
    assert back["ending"]["status"] == "SUCCEEDED"


def test_the_key_in_a_corrected_body_is_used(local: Local) -> None:
    """A request that was rejected because its key was used before is corrected with a new key."""
    assert create(local, envelope("twice"), "--wait").returncode == 0
    local.send(envelope("twice", fields="identities.id"))
    letter = until(lambda: local.dead("twice"))
    assert letter["reason"].startswith("KEY_REUSED")
    shown = local.json("dlq", "show", "twice")
    assert shown == letter
    corrected = local.folder / "corrected.json"
    corrected.write_text(shown["body"].replace('"twice"', '"thrice"'))
    command = ["dlq", "redrive", "twice", "--body", str(corrected), "--wait"]
    ending = local.json(*command)["ending"]
    assert (ending["requestKey"], ending["status"]) == ("thrice", "SUCCEEDED")


def test_a_success_that_is_none_has_an_exit_code_of_its_own(local: Local) -> None:
    """No profiles, or errors despite SUCCEEDED: a script must not continue as if all were well."""
    nobody = {"filter": {"fromIngestTimestamp": "2099-01-01T00:00:00Z"}}
    empty = create(local, envelope("nobody", **nobody), "--wait", "--json")
    assert json.loads(empty.stdout)["jobOutcome"] == "SUCCEEDED_EMPTY"
    assert empty.returncode == 4

    with local.at_pace(60):
        create(local, envelope("with-errors"))
        job = until(lambda: state_of(local, "with-errors").get("jobId"))
        ended = {"status": "SUCCEEDED", "errors": [{"code": "1", "msg": "half of it"}]}
        requests.patch(local.control(f"jobs/{job}"), json=ended, timeout=10).raise_for_status()
        done = create(local, envelope("with-errors"), "--wait", "--json")
    assert json.loads(done.stdout)["jobOutcome"] == "SUCCEEDED_WITH_ERRORS"
    assert done.returncode == 4


def state_of(local: Local, key: str) -> dict[str, Any]:
    output = local.run("request", "show", key, "--json").stdout
    return dict(json.loads(output)) if output else {}


def in_dev(key: str, **job: Any) -> str:
    return json.dumps({**json.loads(envelope(key, **job)), "sandboxName": "dev"})


def test_the_state_of_a_request_is_shown(local: Local) -> None:
    """Ended, rejected or unknown: each is reported, with its exit code."""
    assert create(local, envelope("ended"), "--wait").returncode == 0
    ended = local.json("request", "show", "ended")
    assert (ended["status"], ended["outcome"]) == ("CREATED", "CREATED")
    assert ended["jobId"] == jobs_of(local)[0]
    assert ended["linkedBy"] == "answer"
    assert ended["since"]

    unknown = local.run("request", "show", "none-such")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: request 'none-such' is unknown")
    assert "the queue is empty" in unknown.stderr


def test_what_was_rejected_as_it_came_is_still_shown_when_its_dead_letter_is_gone(
    local: Local,
) -> None:
    """Field case 32: by the key in its message, although its record has another."""
    local.send(envelope("misspelt", filtre={}))
    until(lambda: local.dead("misspelt"))
    before = local.json("request", "show", "misspelt")
    assert (before["status"], before["outcome"]) == ("REJECTED", "INVALID")
    assert "did you mean 'filter'?" in before["reason"]
    assert local.run("dlq", "delete", "misspelt").returncode == 0
    assert local.json("request", "show", "misspelt") == before
    (listed, *_) = local.json("request", "list", "--rejected")["ended"]
    assert (listed["requestKey"], listed["eventId"]) == ("misspelt", before["eventId"])


def test_a_key_that_nobody_knows_is_not_taken_for_a_queued_one(local: Local) -> None:
    """Field case 33: whatever is in the queue; the output shows how many messages that is."""
    url = local.description["outputs"]["RequestQueueUrl"]
    sqs = local.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody=envelope("later"), DelaySeconds=600)
    try:
        unknown = local.run("request", "show", "typo")
        assert unknown.returncode == 2
        assert "1 message is in the queue, not recorded yet" in unknown.stderr
    finally:
        sqs.purge_queue(QueueUrl=url)


def test_a_request_held_by_a_failing_service_shows_why(local: Local) -> None:
    """Its place in the queue, the end of the hold and its deadline; it can still be cancelled."""
    throttled = {"call": "create", "kind": "http", "status": 429, "times": 0}
    requests.post(local.control("faults"), json=throttled, timeout=10).raise_for_status()
    try:
        body = {**json.loads(in_dev("waits")), "expiresAt": "2099-01-31T06:00:00Z"}
        assert create(local, json.dumps(body)).returncode == 0
        until(lambda: (state_of(local, "waits").get("waitsFor") or {}).get("what") == "HOLD")
    finally:
        requests.delete(local.control("faults"), timeout=10)
    waiting = local.json("request", "show", "waits", code=3)
    assert (waiting["status"], waiting["place"], waiting["places"]) == ("WAITING", 1, 1)
    assert waiting["waitsFor"]["until"] > waiting["since"]
    assert waiting["deadline"] == "2099-01-31T06:00:00.000Z"
    assert waiting["openExports"].keys() == {"dev"}
    output = local.run("request", "show", "waits").stdout
    assert "place 1 of 1" in output
    assert "the service, which failed or throttled calls: the line is held until " in output
    assert "deadline" in output

    (listed,) = local.json("request", "list", "--sandbox", "dev")["waiting"]
    assert (listed["requestKey"], listed["place"]) == ("waits", 1)
    assert listed["deadline"] == waiting["deadline"]
    assert local.json("request", "list", "--sandbox", "prod")["waiting"] == []
    assert "  held until " in local.run("request", "list").stdout
    held = [c for c in local.json("doctor")["checks"] if c["name"] == "line"]
    assert [(c["sandbox"], c["state"]) for c in held] == [("prod", "ok"), ("dev", "look")]

    done = create(local, json.dumps(body), "--wait", "--timeout", "3")
    assert done.returncode == 3
    assert "the request waits, place 1 of 1, for the service, which failed" in done.stderr
    assert "export-jobs request show waits" in done.stdout

    cancelled = local.json("request", "cancel", "waits", "--wait")
    assert cancelled["outcome"] == "CANCELLED"
    assert local.json("request", "show", "waits")["status"] == "CANCELLED"


def test_a_cancel_request_shows_what_it_waits_for(local: Local) -> None:
    """It waits for the request that it names, which is cancelled when it arrives."""
    sent = local.json("request", "cancel", "not-yet-sent")
    until(lambda: state_of(local, sent["requestKey"]).get("waitsFor"))
    waits = local.json("request", "show", sent["requestKey"], code=3)
    assert (waits["waitsFor"]["what"], waits["waitsFor"]["requestKey"]) == (
        "REQUEST",
        "not-yet-sent",
    )
    assert waits["place"] is None
    target = until(lambda: state_of(local, "not-yet-sent"))
    assert (target["status"], target["cancelledBy"]) == ("CANCEL_WANTED", sent["requestKey"])
    assert target["waitsFor"]["until"]
    listed = local.json("request", "list")
    assert sent["requestKey"] in [row["requestKey"] for row in listed["waiting"]]
    assert listed["sandboxes"][0]["cancelsWaiting"] >= 1


def test_requests_are_listed_as_they_wait_are_under_way_and_have_ended(local: Local) -> None:
    """Those under way with their jobs; ended ones, newest first, only on request."""
    with local.at_pace(60):
        assert create(local, envelope("runs")).returncode == 0
        job = until(lambda: state_of(local, "runs").get("jobId"))
        found = local.json("request", "list")
        (runs,) = [row for row in found["underWay"] if row["requestKey"] == "runs"]
        assert (runs["status"], runs["jobId"], runs["sandboxName"]) == ("CREATED", job, "prod")
        assert runs["ageMs"] >= 0
        assert found["ended"] is None
        assert found["sandboxes"][0]["openExports"] >= 1
        assert local.run("request", "cancel", "--job", job, "--wait").returncode == 0
    rejected(local, "refused-for-the-list")
    ended = local.json("request", "list", "--ended")["ended"]
    assert ended[0]["requestKey"] == "refused-for-the-list"
    assert (ended[0]["status"], ended[0]["outcome"]) == ("REJECTED", "REFUSED")
    assert [row["since"] for row in ended] == sorted((r["since"] for r in ended), reverse=True)
    assert {"runs", "refused-for-the-list"} <= {row["requestKey"] for row in ended}
    only_rejected = local.json("request", "list", "--rejected", "--limit", "1")["ended"]
    assert [row["requestKey"] for row in only_rejected] == ["refused-for-the-list"]
    assert local.run("request", "list", "--sandbox", "nowhere").returncode == 2
    output = local.run("request", "list", "--ended").stdout
    assert re.search(r"refused-for-the-list .* REJECTED +REFUSED ", output)
    assert all(line == line.rstrip() for line in output.splitlines())


def test_a_rejected_request_that_succeeds_when_redriven_is_not_listed_as_rejected(
    local: Local,
) -> None:
    """Its record leaves the index of rejected requests; it is shown as what it is now."""

    def listed() -> list[str]:
        rows = local.json("request", "list", "--rejected")["ended"]
        return [row["requestKey"] for row in rows]

    rejected(local, "better-now")
    assert listed()[0] == "better-now"
    assert local.run("dlq", "redrive", "better-now", "--wait").returncode == 0
    assert "better-now" not in listed()
    assert local.json("request", "show", "better-now")["status"] == "CREATED"


def test_a_request_that_is_rejected_again_has_been_tried_twice(local: Local) -> None:
    """A wait for the second attempt does not report the end of the first."""
    rejected(local, "twice-refused")
    first = local.dead("twice-refused")
    assert first
    service_refuses_the_next(local, status=422)
    back = local.json("dlq", "redrive", "twice-refused", "--wait", code=1)
    second = until(lambda: local.dead("twice-refused"))
    assert second["reason"] == f"REFUSED: {back['ending']['reason']}" != first["reason"]
    assert (first["tries"], second["tries"]) == (1, 2)
    assert first["eventId"] != second["eventId"]
    assert state_of(local, "twice-refused")["eventId"] == second["eventId"]
    assert "tried 2 times" in local.run("dlq", "list").stdout
    assert local.run("dlq", "delete", "twice-refused").returncode == 0


def test_a_message_that_sqs_itself_moved_is_listed_as_what_it_is(local: Local) -> None:
    """It was not rejected, whatever its attributes state; sent back, it is a new request."""
    sqs = local.client("sqs")
    forged = {
        name: {"DataType": "String", "StringValue": "forged"}
        for name in ("requestKey", "recordKey", "eventId", "reason")
    }
    body = json.dumps({"job": json.loads(envelope("unused"))["job"]})
    sent = sqs.send_message(
        QueueUrl=local.description["outputs"]["DeadLetterQueueUrl"],
        MessageBody=body,
        MessageAttributes=forged,
    )
    letter = local.dead(sent["MessageId"])
    assert letter
    assert letter["reason"].startswith("SQS moved it here")
    assert (letter["tries"], letter["eventId"]) == (None, None)
    shown = local.json("request", "show", sent["MessageId"])
    assert (shown["status"], shown["outcome"]) == ("DEAD_LETTER", None)
    back = local.json("dlq", "redrive", sent["MessageId"], "--wait")
    assert back["ending"]["status"] == "SUCCEEDED"
    assert back["ending"]["requestKey"] == back["sent"][0]["messageId"]
    assert local.dead(sent["MessageId"]) is None


def test_what_a_pipe_gets_is_not_wrapped(local: Local) -> None:
    """Field case 34: a reason is one line, without trailing blanks."""
    local.send(envelope("long-reason", filtre={}, feilds="x", shcema={}))
    until(lambda: local.dead("long-reason"))
    lines = local.run("dlq", "list").stdout.splitlines()
    (reason,) = [line for line in lines if "filtre" in line]
    assert len(reason) > 80
    assert all(name in reason for name in ("filtre", "feilds", "shcema"))
    assert all(line == line.rstrip() for line in lines)
    assert local.run("dlq", "delete", "long-reason").returncode == 0


def test_progress_has_the_seconds_since_it_began(local: Local) -> None:
    """Without a terminal each step is a line that shows its time."""
    done = create(local, envelope("in-steps"), "--wait")
    steps = done.stderr.splitlines()
    assert steps
    for line in steps:
        seconds, unit, *_ = line.split()
        assert seconds.isdecimal()
        assert unit == "s"


def test_a_job_that_is_not_there_is_not_asked_to_be_cancelled(local: Local) -> None:
    """Nothing is sent, unless its sandbox is named: then the creator asks the service."""
    done = local.run("request", "cancel", "--job", "987654")
    assert done.returncode == 2
    assert "no job '987654' is on record" in done.stderr
    assert done.stderr.endswith("; to cancel it all the same, name its sandbox with --sandbox\n")
    assert "--live" not in done.stderr
    sent = ["request", "cancel", "--job", "987654", "--sandbox", "dev", "--wait"]
    assert local.json(*sent, code=1)["outcome"] == "NOT_FOUND"
    assert local.run("request", "cancel", "x", "--sandbox", "no").returncode == 2


def test_a_job_of_any_sandbox_is_cancelled_without_naming_it(local: Local) -> None:
    """Its sandbox is found, as `job` finds it."""
    url = local.control("jobs?sandbox=dev")
    job = str(requests.post(url, json={"status": "PROCESSING"}, timeout=10).json()["id"])
    until(lambda: local.run("job", "show", job).returncode == 0)
    ending = local.json("request", "cancel", "--job", job, "--wait", "--timeout", "10", code=3)
    assert (ending["outcome"], ending["sandbox"]) == ("CANCELLING", "dev")


def test_what_a_key_stands_for_is_cancelled_in_its_own_sandbox(local: Local) -> None:
    """Although a cancel request without a sandbox is sent for the stack's first."""
    in_dev = json.dumps({**json.loads(envelope("of-dev")), "sandboxName": "dev"})
    with local.at_pace(60):
        assert create(local, in_dev).returncode == 0
        until(lambda: state_of(local, "of-dev").get("jobId"))
        ending = local.json("request", "cancel", "of-dev", "--wait")
    assert (ending["sandbox"], ending["status"]) == ("dev", "CANCELLED")


def test_dead_letters_are_deleted_for_good(local: Local) -> None:
    """Those of one key, or all after confirmation; what was deleted is shown in full."""
    for key in ("away", "stays", "goes-too"):
        local.send(envelope(key, filtre={}))
        until(lambda key=key: local.dead(key))  # type: ignore[misc]
    deleted = local.json("dlq", "delete", "away")["deleted"]
    assert [letter["requestKey"] for letter in deleted] == ["away"]
    assert "filtre" in deleted[0]["body"]
    assert local.dead("away") is None
    assert local.dead("stays")

    unsure = local.run("dlq", "delete", "--all", stdin="")
    assert unsure.returncode == 2
    assert "--yes" in unsure.stderr
    assert local.run("dlq", "delete").returncode == 2
    assert local.dead("stays")
    assert local.run("dlq", "delete", "--all", "--yes").returncode == 0
    assert local.json("dlq", "list") == []
    assert local.run("dlq", "delete", "stays").returncode == 2


def test_what_may_have_a_job_is_sent_back_only_by_its_key(local: Local) -> None:
    """`--all` leaves a request that ended as OUTCOME_UNKNOWN, and shows what to do first."""
    record = {"requestKey": "perhaps", "status": "REJECTED", "outcome": "OUTCOME_UNKNOWN"}
    event_id = str(uuid.uuid4())
    record |= {"eventId": event_id, "sandbox": "prod", "action": "create"}
    local.client("dynamodb").put_item(
        TableName=local.description["outputs"]["RequestsTableName"],
        Item={**{k: {"S": v} for k, v in record.items()}, "version": {"N": "3"}},
    )
    attributes = {"requestKey": "perhaps", "eventId": event_id, "reason": "OUTCOME_UNKNOWN"}
    local.client("sqs").send_message(
        QueueUrl=local.description["outputs"]["DeadLetterQueueUrl"],
        MessageBody=envelope("perhaps"),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )
    assert until(lambda: local.dead("perhaps"))["eventId"] == event_id
    found = local.json("dlq", "redrive", "--all", code=1)
    assert found["sent"] == []
    (left,) = found["left"]
    assert left["requestKey"] == "perhaps"
    assert "look for the job first" in left["reason"]
    output = local.run("dlq", "redrive", "--all")
    assert output.stdout.startswith("left perhaps: its create call may have created a job")
    back = local.json("dlq", "redrive", "perhaps", "--wait")
    assert back["ending"]["status"] == "SUCCEEDED"


def test_a_timeout_needs_something_to_wait_for(tmp_path: Path) -> None:
    """It is refused at once, before anything is looked up or sent."""
    for command in (
        ["request", "create", "-"],
        ["request", "cancel", "--job", "1"],
        ["dlq", "redrive", "k"],
    ):
        done = typed([*command, "--timeout", "5"], tmp_path, stdin="{}")
        assert done.returncode == 2
        assert done.stderr == "error: --timeout needs --wait\n"


def test_an_error_leaves_standard_output_to_programs(local: Local) -> None:
    """Even with --json: nothing on it, the error on standard error, exit code 2."""
    for command in (["job", "show", "987654"], ["request", "show", "no"], ["dlq", "show", "no"]):
        done = local.run(*command, "--json")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
