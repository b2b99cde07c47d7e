"""Temporal on PostgreSQL: the server of `make temporal-postgres`, and what several workers do on it."""
