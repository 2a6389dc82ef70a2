"""The rules: what a sweep announces and how a request ends. No AWS, no HTTP and no clock in here."""
