"""The record of one environment: what its workflow knows, and how it is shown."""
