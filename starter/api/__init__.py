"""The HTTP API: the one door to environments."""
