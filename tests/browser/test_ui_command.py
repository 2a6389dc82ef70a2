"""`export-jobs ui`, and the page of `export-jobs local`, as a user starts them."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests
from playwright.sync_api import Page, expect
from support.command_line import EXPORT_JOBS, PLAIN, Local, until

pytestmark = pytest.mark.xdist_group("live-page")


@contextmanager
def ui(
    local: Local, *options: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and the first line that it prints."""
    with subprocess.Popen(
        [EXPORT_JOBS, "ui", *options],
        cwd=local.folder,
        env={**PLAIN, **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            if process.poll() is None:
                process.kill()


def test_the_first_line_is_the_address_and_ctrl_c_ends_it(local: Local) -> None:
    """It answers once it is printed; afterwards nobody listens there."""
    with ui(local, "--port", "0") as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert "Sandbox prod" in requests.get(address, timeout=30).text
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", urlsplit(address).port or 0)) != 0


def test_json_has_the_address_and_the_stack(local: Local) -> None:
    """For programs that open the page."""
    with ui(local, "--port", "0", "--json") as (_, line):
        printed = json.loads(line)
        assert printed["stack"] == "export-jobs-local"
        assert requests.get(printed["url"], timeout=30).status_code == 200


def test_open_opens_the_page_in_the_browser(local: Local, tmp_path: Path, quiet_tab: Page) -> None:
    """In the one that BROWSER names. Its command line, which others can read, has no token.

    It opens a file that leads to the page, which only its owner can read, and which is removed.
    """
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" > {opened}.new; mv {opened}.new {opened}\n')
    browser.chmod(0o755)
    with ui(local, "--port", "0", "--open", BROWSER=str(browser)) as (process, address):
        until(opened.exists)
        given = opened.read_text()
        (token,) = parse_qs(urlsplit(address).query)["token"]
        assert given.startswith("file:///")
        assert token not in given
        file = Path(unquote(urlsplit(given).path))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        quiet_tab.goto(given)
        expect(quiet_tab.get_by_role("heading", level=1)).to_have_text("Exports")
        assert token not in quiet_tab.url
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert not file.parent.exists()


def test_only_one_sandbox_is_shown_if_it_is_named(local: Local) -> None:
    """As in other commands; one that is not watched is refused."""
    with ui(local, "--port", "0", "--sandbox", "dev") as (_, address):
        html = requests.get(address, timeout=30).text
        assert "Sandbox dev" in html
        assert "Sandbox prod" not in html
    done = local.run("ui", "--sandbox", "nowhere")
    assert done.returncode == 2
    assert "sandbox 'nowhere' is not watched" in done.stderr


def test_a_port_that_is_taken_is_reported_in_one_line(local: Local) -> None:
    """With the port, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = local.run("ui", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: can't use port {port} for the page (Address already in use); try another, or 0 "
        "for any free port\n"
    )


def test_without_a_stack_it_says_what_to_do(local: Local, tmp_path: Path) -> None:
    """Like every command."""
    elsewhere = Local(tmp_path, {}, local.process)
    done = elsewhere.run("ui")
    assert done.returncode == 2
    assert "no local system is running here" in done.stderr


def test_a_snapshot_names_the_file_to_open(local: Local) -> None:
    """And how many pages it has."""
    done = local.run("ui", "--snapshot", "site")
    assert done.returncode == 0, done.stderr
    pages = len(list((local.folder / "site").rglob("*.html")))
    assert done.stdout == f"{pages} pages written: open site/index.html\n"
    assert local.json("ui", "--snapshot", "site") == {"index": "site/index.html", "pages": pages}


def test_a_directory_that_can_t_be_written_is_reported(local: Local) -> None:
    """In one line."""
    (local.folder / "file").write_text("")
    done = local.run("ui", "--snapshot", "file/site")
    assert done.returncode == 2
    assert done.stderr.startswith("error: can't write to file/site")


def test_local_prints_the_address_of_its_page_first(tmp_path: Path) -> None:
    """It is what most people look for."""
    with subprocess.Popen(
        [EXPORT_JOBS, "local", "--page-port", "0"],
        cwd=tmp_path,
        env=PLAIN,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert "Exports" in requests.get(address, timeout=30).text
            description = tmp_path / ".export-jobs" / "local.json"
            assert json.loads(description.read_text())["pageUrl"] == address
            assert description.stat().st_mode & 0o077 == 0, "others could read the token"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            if process.poll() is None:
                process.kill()
