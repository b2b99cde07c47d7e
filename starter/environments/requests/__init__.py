"""The path of a request for an environment, and its preview."""
