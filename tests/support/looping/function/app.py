"""Sends every message `back N` back as `back N-1`, and logs every run."""

from __future__ import annotations

import json
import os
from typing import Any

import boto3

SQS = boto3.client("sqs")


def handler(event: dict[str, Any], context: Any) -> None:
    bodies = [record["body"] for record in event.get("Records", [])]
    print(json.dumps({"bodies": bodies, "trace": os.environ["_X_AMZN_TRACE_ID"]}))  # noqa: T201
    for body in bodies:
        word, _, left = body.partition(" ")
        if word == "back" and int(left) > 0:
            SQS.send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=f"back {int(left) - 1}")
