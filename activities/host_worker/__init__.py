"""The activities of a worker beside a host, which has credentials for that host only."""
