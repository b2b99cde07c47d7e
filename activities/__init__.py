"""Temporal activities: what each step does to the outside systems (ensure, remove, inspect).

One module holds one step. Policy lives here: idempotency, ownership, and which error means what. Wire formats
live in `clients/`.
"""
