"""The HTTP API, the only interface to environments for the CLI and other programs."""
