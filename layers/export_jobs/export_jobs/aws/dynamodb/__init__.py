"""The two tables on DynamoDB: how records are written as items, and read."""
