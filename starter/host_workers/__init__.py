"""Hosts that only a worker beside them reaches: what the API asks that worker."""
