"""Temporal on PostgreSQL as docker-compose.yml has it, without Docker: `python -m tools.temporal_postgres`.

The schema script, the dynamic configuration and the variables of the server are those of the compose file.
PostgreSQL is this machine's (Debian: `postgresql`); Temporal's server is compiled once from the module proxy.
"""
