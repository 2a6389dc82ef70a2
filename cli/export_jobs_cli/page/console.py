"""Links into the AWS console of the viewer: the only ones that leave the page."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from export_jobs_cli.stack import DeployedSystem


@dataclass(frozen=True)
class ConsoleLink:
    text: str
    address: str


def console_links(system: DeployedSystem) -> list[ConsoleLink]:
    """The stack, the functions' logs and the dead-letter queue; none for a local stack."""
    if system.is_on_this_machine:
        return []
    region = system.client("dynamodb").meta.region_name
    domain = _domain(region)

    def address(service: str, place: str) -> str:
        return f"https://{region}.{domain}/{service}/home?region={region}#{place}"

    def log(output: str) -> str:
        configuration = system.function(output)
        named = configuration.get("LoggingConfig", {}).get("LogGroup")
        group = named or f"/aws/lambda/{configuration['FunctionName']}"
        # CloudWatch quotes twice, with $ in place of %.
        group = quote(quote(group, safe=""), safe="").replace("%", "$")
        return address("cloudwatch", f"logsV2:log-groups/log-group/{group}")

    outputs = system.outputs
    queue = quote(outputs["DeadLetterQueueUrl"], safe="")
    return [
        ConsoleLink(
            "Stack", address("cloudformation", f"/stacks?filteringText={quote(system.name)}")
        ),
        ConsoleLink("Monitor's log", log("MonitorFunctionName")),
        ConsoleLink("Creator's log", log("CreatorFunctionName")),
        ConsoleLink(
            "Dead letters",
            f"https://{region}.{domain}/sqs/v3/home?region={region}#/queues/{queue}",
        ),
        *(
            [ConsoleLink("Dashboard", outputs["DashboardUrl"])]
            if outputs.get("DashboardUrl", "").startswith(f"https://{region}.{domain}/")
            else []
        ),
    ]


def _domain(region: str) -> str:
    if region.startswith("cn-"):
        return "console.amazonaws.cn"
    if region.startswith("us-gov-"):
        return "console.amazonaws-us-gov.com"
    return "console.aws.amazon.com"
