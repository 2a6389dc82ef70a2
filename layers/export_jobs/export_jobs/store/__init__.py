"""DynamoDB adapters: what is remembered between runs. They keep versions apart and know no rule."""
