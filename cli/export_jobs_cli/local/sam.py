"""Writes the files with which `sam local invoke` runs the functions against the local system.

SAM passes only variables that the template declares, and a deployed function has none for AWS's
endpoint. So a copy of the template that declares it is written next to the template.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from export_jobs_local.project import IS_CHECKOUT, ROOT, TEMPLATE
from export_jobs_local.system import LocalSystem

from export_jobs_cli.errors import UserError

SAM_TEMPLATE = ROOT / "template.local.yaml"
SAM_VARIABLES = ROOT / "events" / "env.json"
ENDPOINT = "AWS_ENDPOINT_URL"
_GLOBAL_VARIABLES = re.compile(r"(Globals:\n.*?\n      Variables:\n)", re.DOTALL)
_SHARES_THE_NETWORK = sys.platform == "linux"
"""Whether containers can use this machine's network, which Docker Desktop does not allow."""


def need_a_checkout() -> None:
    """Raises UserError if the command was installed from a wheel, which lacks files for SAM."""
    if not IS_CHECKOUT:
        raise UserError(
            "--sam needs a checkout of the project: run `make .venv/.installed` in one, "
            "then `.venv/bin/export-jobs local --sam`"
        )


def write_sam_files(system: LocalSystem) -> str:
    """Writes the template and the variables. Returns instructions for the user."""
    template = TEMPLATE.read_text(encoding="utf-8")
    SAM_TEMPLATE.write_text(declaring_the_endpoint(template), encoding="utf-8")
    SAM_VARIABLES.write_text(json.dumps(variables(system), indent=2) + "\n")
    network = " --docker-network host" if _SHARES_THE_NETWORK else ""
    change_folder = "" if Path.cwd() == ROOT else f"  cd {shlex.quote(str(ROOT))}\n"
    return f"""

To run a function in Docker with SAM, in a second terminal:

{change_folder}  sam build -t {SAM_TEMPLATE.name}
  sam local invoke MonitorFunction -e events/monitor.json{network}"""


def declaring_the_endpoint(template: str) -> str:
    """The template with one more variable for each function."""
    declared, count = _GLOBAL_VARIABLES.subn(rf'\1        {ENDPOINT}: ""\n', template, count=1)
    if not count:
        raise ValueError("the template has no global variables")
    return declared


def variables(system: LocalSystem) -> dict[str, dict[str, str]]:
    """Each function's variables, by its logical id, in the format of `--env-vars`."""
    return {
        logical_id: {
            name: _reachable(value)
            for name, value in {**environment, ENDPOINT: system.aws.url}.items()
        }
        for logical_id, environment in _environments(system).items()
    }


def _environments(system: LocalSystem) -> Mapping[str, Mapping[str, str]]:
    return {
        f"{function.folder.name.title()}Function": function.environment
        for function in system.stack.functions()
    }


def _reachable(value: str) -> str:
    """An address on this machine, as a container can reach it."""
    return value if _SHARES_THE_NETWORK else value.replace("127.0.0.1", "host.docker.internal")
