"""Calls to the API server of a host cluster, and what its answers mean."""
