"""The entry points: HTTP API, command line, codec server and setup, and what they share."""
