"""The bare handler: the same libraries and clients, and only the required calls.

It guarantees nothing. What ours costs beyond it is the price of the guarantees.
"""

import json
import os

import boto3
import requests
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper, extra="ignore")

    aep_base_url: str
    ims_token_url: str
    aep_secret_id: str
    sandboxes: str
    jobs_table: str
    event_bus_name: str
    topic_arn: str


logger = Logger()
metrics = Metrics()
settings = Settings.model_validate(dict(os.environ))
dynamodb = boto3.client("dynamodb")
events = boto3.client("events")
sns = boto3.client("sns")
session = requests.Session()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event, context):
    secret = json.loads(parameters.get_secret(settings.aep_secret_id, max_age=60))
    answer = session.post(
        settings.ims_token_url,
        data={
            "grant_type": "client_credentials",
            "client_id": secret["clientId"],
            "client_secret": secret["clientSecret"],
            "scope": secret["scopes"],
        },
        timeout=10,
    )
    token = answer.json()["access_token"]
    for sandbox in settings.sandboxes.split(","):
        headers = {
            "Authorization": f"Bearer {token}",
            "x-api-key": secret["clientId"],
            "x-gw-ims-org-id": secret["orgId"],
            "x-sandbox-name": sandbox,
        }
        url = f"{settings.aep_base_url}/export/jobs"
        page = session.get(url, params={"limit": 100}, headers=headers, timeout=10).json()
        dynamodb.query(
            TableName=settings.jobs_table,
            IndexName="open",
            ConsistentRead=True,
            KeyConditionExpression="sandbox = :sandbox",
            ExpressionAttributeValues={":sandbox": {"S": sandbox}},
        )
        metrics.add_metric("Jobs", MetricUnit.Count, len(page["records"]))
    changes = event.get("changes", 0)
    if changes:
        details = [
            json.dumps({"jobId": str(number), "status": "SUCCEEDED"}) for number in range(changes)
        ]
        for number, detail in enumerate(details):
            put(number, detail)
        events.put_events(
            Entries=[
                {
                    "Source": "bare",
                    "DetailType": "Bare",
                    "Detail": detail,
                    "EventBusName": settings.event_bus_name,
                }
                for detail in details
            ]
        )
        sns.publish_batch(
            TopicArn=settings.topic_arn,
            PublishBatchRequestEntries=[{"Id": "0", "Message": details[0]}],
        )
        for number, detail in enumerate(details):
            put(number, detail)
    logger.info("done")
    return {}


def put(number, detail):
    dynamodb.put_item(
        TableName=settings.jobs_table,
        Item={
            "sandbox": {"S": "bare"},
            "sk": {"S": f"job#{number}"},
            "jobId": {"S": str(number)},
            "detail": {"S": detail},
        },
    )
