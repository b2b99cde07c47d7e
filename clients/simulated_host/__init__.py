"""The simulated host cluster of the embedded stack, over its own small HTTP API."""
