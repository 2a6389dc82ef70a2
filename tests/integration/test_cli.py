"""`export-jobs` against the local system: what a person types, with real sockets and processes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from support.command_line import EXPORT_JOBS, PLAIN, Local, envelope, typed, until
from support.files import ROOT

pytestmark = pytest.mark.xdist_group("cli")

REQUESTS = ROOT / "events" / "requests"


def test_a_request_is_followed_to_its_job_s_end(local: Local) -> None:
    """`request create --wait` exits with 0 once the job has succeeded, and shows the export."""
    ending = local.json("request", "create", str(REQUESTS / "one-segment.json"), "--wait")
    assert (ending["outcome"], ending["status"]) == ("CREATED", "SUCCEEDED")
    assert ending["profilesExported"] > 0
    job = local.json("job", "show", ending["jobId"])
    assert job["requestKey"] == "nightly-newsletter"
    assert job["correlationId"] == "campaign-42"
    assert [moment["at"] for moment in job["timeline"]] == sorted(
        moment["at"] for moment in job["timeline"]
    )
    (folder,) = job["data"]
    assert list(Path(folder).glob("*.parquet"))


def test_a_job_that_fails_makes_the_exit_code_1(local: Local) -> None:
    """A failed export has an exit code of its own, and its first error is shown."""
    file = str(REQUESTS / "fails-unknown-dataset.json")
    done = local.run("request", "create", file, "--wait")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "does not exist" in done.stdout
    failed = local.json("job", "list", "--outcome", "failed")
    assert [job["datasetId"] for job in failed] == ["000000000000000000000000"]
    listed = local.run("job", "list", "--outcome", "failed").stdout
    assert "does not exist" in listed


def test_an_invalid_request_is_not_sent(local: Local) -> None:
    """Each wrong field is named with its nearest known one, before anything reaches the queue."""
    done = local.run("request", "create", str(REQUESTS / "invalid-misspelt-field.json"))
    assert done.returncode == 2
    assert "segmnets" in done.stderr
    assert "did you mean 'segments'?" in done.stderr
    assert local.dead("misspelt") is None


def test_a_request_comes_from_standard_input_and_can_be_cancelled_by_its_key(local: Local) -> None:
    """Cancelling a request that has ended by its key reports that, and is no error."""
    done = local.run("request", "create", "-", "--wait", stdin=envelope("piped"))
    assert done.returncode == 0, done.stderr
    ending = local.json("request", "cancel", "piped", "--wait")
    assert ending["outcome"] == "ALREADY_FINAL"


def test_a_running_job_is_cancelled(local: Local) -> None:
    """`request cancel --job --wait` exits with 0 when the job is cancelled."""
    with local.at_pace(60):
        created = local.run("request", "create", "-", stdin=envelope("to-cancel"))
        assert created.returncode == 0
        job = until(lambda: [j for j in local.json("job", "list") if not j["final"]])[0]
        ending = local.json("request", "cancel", "--job", job["jobId"], "--wait")
        assert (ending["outcome"], ending["status"]) == ("CANCELLING", "CANCELLED")


def test_time_that_is_up_has_an_exit_code_of_its_own(local: Local) -> None:
    """A wait that times out leaves the request running, which is neither success nor failure."""
    cancels = ["request", "cancel", "never-sent"]
    ending = local.json(*cancels, "--wait", "--timeout", "2", code=3)
    assert ending["outcome"] is None


def test_jobs_are_listed_newest_first_and_filtered(local: Local) -> None:
    """Each filter keeps the order, and an error names an unknown value."""
    for sandbox in ("prod", "dev"):
        requests.post(local.control(f"jobs?sandbox={sandbox}"), json={}, timeout=10)

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = local.json("job", "list")
        return found if {job["sandboxName"] for job in found} == {"prod", "dev"} else []

    every = until(listed)
    created = [job["createdAt"] for job in every]
    assert created == sorted(created, reverse=True)
    assert {job["sandboxName"] for job in local.json("job", "list", "--sandbox", "dev")} == {"dev"}
    (newest,) = local.json("job", "list", "--limit", "1")
    assert newest["jobId"] == every[0]["jobId"]
    assert local.json("job", "list", "--dataset", "none-such") == []
    assert local.json("job", "list", "--request", "none-such") == []
    assert local.json("job", "list", "--since", "2099-01-01") == []
    recent = [job["jobId"] for job in local.json("job", "list", "--since", "1h")]
    assert recent == [job["jobId"] for job in local.json("job", "list")]
    mistyped = local.run("job", "list", "--outcome", "FAILD")
    assert mistyped.returncode == 2
    assert "did you mean FAILED?" in mistyped.stderr
    assert "use 30m, 12h, 7d" in local.run("job", "list", "--since", "yesterday").stderr
    done = local.run("job", "list", "--sandbox", "nowhere")
    assert done.returncode == 2
    assert "watched: prod, dev" in done.stderr


def test_the_service_is_asked_only_with_live(local: Local) -> None:
    """The tables agree with the service; without --live, no Adobe credential is read."""
    ending = local.json("request", "create", "-", "--wait", stdin=envelope("seen-twice"))
    shown = ("jobId", "status", "outcome", "datasetId", "batchIds", "profilesExported", "errors")

    def both() -> bool:
        recorded = local.json("job", "show", ending["jobId"])
        live = local.json("job", "show", ending["jobId"], "--live")
        assert live["job"]["id"] == ending["jobId"]
        assert recorded["job"] is None
        return [recorded[name] for name in shown] == [live[name] for name in shown]

    until(both)
    live = local.json("job", "list", "--live", "--request", "seen-twice")
    assert [job["jobId"] for job in live] == [ending["jobId"]]
    assert local.json("job", "list", "--request", "seen-twice")[0]["requestKey"] == "seen-twice"
    secret = {"SecretId": "export-jobs/aep"}
    aws = local.client("secretsmanager")
    kept = aws.get_secret_value(**secret)["SecretString"]
    aws.put_secret_value(**secret, SecretString="{}")
    try:
        assert local.run("job", "list").returncode == 0
        assert local.run("job", "show", ending["jobId"]).returncode == 0
        assert local.run("event", "list", ending["jobId"]).returncode == 0
        assert local.run("request", "list").returncode == 0
        assert local.run("request", "show", "seen-twice").returncode == 0
        assert "the secret lacks clientId" in local.run("job", "list", "--live").stderr
    finally:
        aws.put_secret_value(**secret, SecretString=kept)


def test_a_job_s_events_are_listed_after_they_were_published(local: Local) -> None:
    """Each has its sequence number, in order, the end in full; nothing is left in the outbox."""
    ending = local.json("request", "create", "-", "--wait", stdin=envelope("with-history"))

    def ended() -> Any:
        found = local.json("event", "list", ending["jobId"])
        return found if found[-1]["outcome"] == "SUCCEEDED" and not found[-1]["undelivered"] else []

    events = until(ended)
    assert events[0]["type"] == "Export Request Accepted"
    numbers = [event["sequence"] for event in events[1:]]
    assert numbers == list(range(1, len(numbers) + 1))
    lines = local.run("event", "list", ending["jobId"]).stdout.splitlines()
    assert len(lines) == len(events)
    assert f"Export job {ending['jobId']} succeeded: 1,905 profiles in " in lines[-1]


def test_a_job_that_has_vanished_is_shown_by_its_record(local: Local) -> None:
    """Field case 31: the alert's own command finds it, though the service no longer does."""
    url = local.control("jobs?sandbox=dev")
    made = {"status": "PROCESSING", "creationTime": 1_700_000_000_000}
    job = str(requests.post(url, json=made, timeout=10).json()["id"])
    until(lambda: local.run("job", "show", job).returncode == 0)
    requests.delete(local.control(f"jobs/{job}?sandbox=dev"), timeout=10).raise_for_status()
    shown = until(lambda: (found := local.json("job", "show", job))["final"] and found, seconds=90)
    assert (shown["status"], shown["outcome"]) == ("VANISHED", "VANISHED")
    assert shown["events"][-1]["summary"].startswith(f"Export job {job} VANISHED")
    assert local.run("job", "show", job, "--live").returncode == 2


def test_a_list_is_renewed_until_ctrl_c(local: Local) -> None:
    """Without a terminal, a line for each job that is new or has changed."""
    with subprocess.Popen(
        [EXPORT_JOBS, "job", "list", "--watch", "--request", "watched-list"],
        cwd=local.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**PLAIN, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            local.send(envelope("watched-list"))
            assert process.stdout is not None
            line = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, output = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "5b7c86968f7b6501e21ba9df" in line
    assert (process.returncode, output) == (0, "")


def test_a_request_is_checked_without_a_stack(tmp_path: Path) -> None:
    """`--dry-run` names every wrong field and accepts any sandbox; nothing runs or is sent."""
    body = json.loads(envelope("dry"))
    good = typed(
        ["request", "create", "-", "--dry-run", "--json"],
        tmp_path,
        stdin=json.dumps({**body, "sandboxName": "anything"}),
    )
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["requestKey"] == "dry"
    body["job"]["filtre"] = {}
    bad = typed(["request", "create", "-", "--dry-run"], tmp_path, stdin=json.dumps(body))
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "did you mean 'filter'?" in bad.stderr


def test_a_request_is_read_in_any_locale(tmp_path: Path) -> None:
    """Field case 17: from a file or standard input; another encoding than these is named."""
    body = json.dumps(
        {**json.loads(envelope("umlaut")), "correlationId": "Köln"}, ensure_ascii=False
    )
    odd = body.encode("latin-1")
    at = odd.index(b"\xf6") + 1
    for raw, error in (
        (body.encode(), None),
        (body.encode("utf-8-sig"), None),
        (body.encode("utf-16"), None),
        (odd, f"it is not UTF-8, at byte {at}; use UTF-8"),
        (body.encode("utf-16-le"), "it is UTF-16 or UTF-32 without a byte order mark; use UTF-8"),
    ):
        (tmp_path / "request.json").write_bytes(raw)
        for source, name in (("-", "standard input"), ("request.json", "request.json")):
            done = typed(["request", "create", source, "--dry-run", "--json"], tmp_path, stdin=raw)
            if error:
                assert done.returncode == 2
                assert done.stderr == f"error: can't read {name}: {error}\n"
            else:
                assert done.returncode == 0, done.stderr
                assert json.loads(done.stdout)["correlationId"] == "Köln"


@pytest.mark.usefixtures("no_aws_settings")
def test_a_profile_and_a_region_are_for_a_deployed_stack(tmp_path: Path) -> None:
    """The local system would ignore them; a profile that does not exist is named."""
    done = typed(["job", "list", "--region", "eu-west-1"], tmp_path)
    assert done.returncode == 2
    assert "--profile and --region need --stack" in done.stderr
    wrong = typed(["job", "list", "--stack", "s", "--profile", "none-such"], tmp_path)
    assert wrong.stderr == "error: The config profile (none-such) could not be found\n"


def test_a_pipe_gets_plain_lines_that_are_not_wrapped(local: Local) -> None:
    """No colours, no trailing blanks, and one line per job, however long it is."""
    done = local.run("request", "create", "-", "--wait", stdin=envelope("of-any-width"))
    assert done.returncode == 0, done.stderr
    job = local.json("request", "show", "of-any-width")["jobId"]
    for command in (["job", "list"], ["job", "show", job], ["event", "list", job]):
        printed = local.run(*command).stdout
        assert "\x1b" not in printed
        assert all(line == line.rstrip() for line in printed.splitlines())
    jobs, _, _ = local.run("job", "list").stdout.partition("\nfirst errors")
    assert len(jobs.splitlines()) == 1 + len(local.json("job", "list"))


def test_an_unknown_job_is_reported_in_one_line(local: Local) -> None:
    """Without a traceback; the line names the sandboxes that were searched, and an option if it helps."""
    for command, hint in (("job", "show"), "; --live asks the service"), (("event", "list"), ""):
        done = local.run(*command, "987654")
        assert done.returncode == 2
        assert done.stderr.startswith("error: no job '987654' is on record in prod or dev: ")
        assert done.stderr.endswith(f" or its record has expired{hint}\n")
        assert done.stderr.count("\n") == 1
    live = local.run("job", "show", "987654", "--live")
    assert live.stderr == "error: the service has no job '987654' in prod or dev\n"


def test_a_rejected_request_is_listed_corrected_and_redriven_to_success(local: Local) -> None:
    """The dead letter shows the reason; the corrected request becomes a job under the same key."""
    local.send(envelope("typo", filtre={"emptyProfiles": True}))
    letter = until(lambda: local.dead("typo"))
    assert "did you mean 'filter'?" in letter["reason"]
    assert letter["tries"] == 1
    assert local.dead("typo") == letter  # looking at it does not take it away

    left = local.json("dlq", "redrive", "typo", code=1)
    assert left["sent"] == []
    assert left["left"][0]["reason"].startswith("still invalid: ")
    assert local.dead("typo")

    body = local.run("dlq", "show", "typo").stdout
    corrected = local.folder / "corrected.json"
    corrected.write_text(body.replace("filtre", "filter"))
    command = ["dlq", "redrive", "typo", "--body", str(corrected), "--wait"]
    ending = local.json(*command)["ending"]
    assert (ending["requestKey"], ending["status"]) == ("typo", "SUCCEEDED")
    assert local.json("job", "show", ending["jobId"])["correlationId"] == "for-typo"
    assert local.dead("typo") is None


def test_what_the_service_refused_can_be_corrected_and_redriven(local: Local) -> None:
    """A refused request has a record; its corrected body does not count as another request."""
    fault = {"call": "create", "kind": "http", "status": 400}
    requests.post(local.control("faults"), json=fault, timeout=10).raise_for_status()
    ending = local.json("request", "create", str(refused(local)), "--wait", code=1)
    assert ending["outcome"] == "REFUSED"
    corrected = local.folder / "corrected.json"
    corrected.write_text(envelope("refused", fields="identities.id"))
    command = ["dlq", "redrive", "refused", "--body", str(corrected), "--wait"]
    assert local.json(*command)["ending"]["status"] == "SUCCEEDED"


def refused(local: Local) -> Path:
    file = local.folder / "refused.json"
    file.write_text(envelope("refused"))
    return file


def test_redriving_needs_either_a_key_or_all(local: Local) -> None:
    """So that nothing is sent by mistake."""
    assert local.run("dlq", "redrive").returncode == 2
    assert local.run("dlq", "redrive", "x", "--all").returncode == 2
    done = local.run("dlq", "redrive", "none-such")
    assert done.returncode == 2
    assert "no dead letter has the request key 'none-such'" in done.stderr


def followers(local: Local) -> list[str]:
    queues = local.client("sqs").list_queues().get("QueueUrls", [])
    bus = local.description["outputs"]["EventBusName"]
    rules = [rule["Name"] for rule in local.client("events").list_rules(EventBusName=bus)["Rules"]]
    return [name for name in [*queues, *rules] if "follower" in name]


def test_events_are_followed_and_nothing_is_left_behind(local: Local) -> None:
    """It shows a job's events, no more than requested; then queue and rule are gone.

    A job has at least two: a slow sweep may first see it when it has ended.
    """
    # No other job's events are pending.
    until(lambda: local.json("request", "list")["underWay"] == [])
    with subprocess.Popen(
        [EXPORT_JOBS, "event", "tail", "--limit", "2", "--seconds", "40", "--json"],
        cwd=local.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert "following export-jobs" in process.stderr.readline()
            assert len(followers(local)) == 2
            local.send(envelope("watched"))
            out, _ = process.communicate(timeout=50)
        finally:
            process.kill()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["detail-type"] for event in events] == [
        "Export Request Accepted",
        "Export Job State Change",
    ]
    assert [event["detail"]["requestKey"] for event in events] == ["watched"] * 2
    assert process.returncode == 0
    assert followers(local) == []


def test_ctrl_c_ends_following_cleanly(local: Local) -> None:
    """No traceback, exit code 0, nothing left behind."""
    with subprocess.Popen(
        [EXPORT_JOBS, "event", "tail"],
        cwd=local.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, output = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in output
    assert followers(local) == []


def test_ctrl_c_ends_waiting_without_a_traceback(local: Local) -> None:
    """Only the waiting ends: the request continues, and the output shows how to find it again."""
    with subprocess.Popen(
        [EXPORT_JOBS, "request", "cancel", "never-comes", "--wait"],
        cwd=local.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, output = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in output
    assert "export-jobs request show " in output


def states(local: Local, *, code: int) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in local.json("doctor", code=code)["checks"]}


def test_doctor_finds_nothing_wrong_where_nothing_is(local: Local) -> None:
    """No check of a working system is bad."""
    until(lambda: local.run("doctor").returncode == 0)  # the first sweep may not have run yet
    found = states(local, code=0)
    assert all(check["state"] != "bad" for check in found.values()), found
    assert {
        "access token",
        "Segmentation API",
        "clock",
        "request queue",
        "schedule",
    } <= found.keys()


def test_doctor_names_what_is_broken_and_the_cure(local: Local) -> None:
    """It distinguishes a disabled schedule, a stopped trigger, a wrong secret and a failing API."""
    aws = {name: local.client(name) for name in ("events", "lambda", "secretsmanager")}
    (rule,) = [r for r in aws["events"].list_rules()["Rules"] if r.get("ScheduleExpression")]
    (mapping,) = aws["lambda"].list_event_source_mappings()["EventSourceMappings"]
    secret = aws["secretsmanager"].get_secret_value(SecretId="export-jobs/aep")["SecretString"]
    aws["events"].disable_rule(Name=rule["Name"])
    aws["lambda"].update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    aws["secretsmanager"].put_secret_value(
        SecretId="export-jobs/aep",
        SecretString=secret.replace(local.description["clientSecret"], "wrong-one"),
    )
    try:
        found = states(local, code=1)
        assert f"enable-rule --name {rule['Name']}" in found["schedule"]["cure"]
        assert mapping["UUID"] in found["queue trigger"]["cure"]
        assert found["Adobe secret"]["state"] == "ok"
        assert "IMS refuses the client" in found["access token"]["detail"]
        assert "wrong-one" not in json.dumps(found)
        assert found["jobs table"]["state"] == "ok"
    finally:
        aws["events"].enable_rule(Name=rule["Name"])
        aws["lambda"].update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
        aws["secretsmanager"].put_secret_value(SecretId="export-jobs/aep", SecretString=secret)


def test_a_stack_is_found_by_its_name_with_the_shell_s_own_aws_settings(
    local: Local, tmp_path: Path
) -> None:
    """`--stack` needs no file of `local`; a wrong name is reported in one line."""
    settings = {
        **PLAIN,
        "AWS_ENDPOINT_URL": local.description["awsEndpointUrl"],
        "AWS_REGION": local.description["region"],
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }

    def jobs_of(stack: str, *, by_variable: bool = False) -> subprocess.CompletedProcess[str]:
        command = [EXPORT_JOBS, "job", "list", "--json"]
        named = {"EXPORT_JOBS_STACK": stack} if by_variable else {}
        return subprocess.run(
            command if by_variable else [*command, "--stack", stack],
            cwd=tmp_path,
            env={**settings, **named},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert isinstance(json.loads(jobs_of("export-jobs-local").stdout), list)
    for by_variable in (False, True):
        wrong = jobs_of("none-such", by_variable=by_variable)
        assert wrong.returncode == 2
        assert "there is no stack 'none-such' in region us-east-1" in wrong.stderr
        assert wrong.stderr.count("\n") == 1


def test_the_local_stack_is_found_by_its_name_too(local: Local) -> None:
    """A command with `--stack` from an e-mail works unchanged against the local system."""
    done = local.run("job", "list", "--stack", "export-jobs-local", "--json")
    assert done.returncode == 0, done.stderr
    ids = [job["jobId"] for job in json.loads(done.stdout)]
    assert ids == [job["jobId"] for job in local.json("job", "list")]


def test_without_a_region_the_error_shows_how_to_set_one(tmp_path: Path) -> None:
    """Without a traceback; for a deployed stack, the local system's file is not read."""
    nowhere = {name: value for name, value in PLAIN.items() if not name.startswith("AWS_")} | {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    done = subprocess.run(
        [EXPORT_JOBS, "job", "list", "--stack", "deployed"],
        cwd=tmp_path,
        env=nowhere,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: no AWS region; use --region, set AWS_REGION, or set a region for the profile\n"
    )


def test_without_a_system_the_error_shows_how_to_start_one(tmp_path: Path) -> None:
    """Also if `local` was killed and its file is still there."""
    command = [EXPORT_JOBS, "job", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "start `export-jobs local`" in done.stderr
    stale = tmp_path / ".export-jobs" / "local.json"
    stale.parent.mkdir()
    stale.write_text(json.dumps({"pid": 2**22 + 1, "awsEndpointUrl": "http://127.0.0.1:9"}))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is no longer running" in done.stderr


def test_completion_names_the_commands() -> None:
    """The shell completion that Typer installs offers the commands."""
    asked = {
        **PLAIN,
        "_EXPORT_JOBS_COMPLETE": "complete_bash",
        "COMP_WORDS": "export-jobs r",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([EXPORT_JOBS], env=asked, capture_output=True, text=True, timeout=60)
    assert "request" in done.stdout.split()
