"""The two tables on DynamoDB: how records are written and read as items."""
