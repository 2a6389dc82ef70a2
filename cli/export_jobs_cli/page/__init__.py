"""The web page of a stack: what it reads and keeps, what each page shows, and how it is served."""
