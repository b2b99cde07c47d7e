"""What every step does to the outside systems: one module a step, ensure, remove and inspect side by side.

Policy lives here: idempotency, ownership, and which error means what. Wire formats live in `clients/`.
"""
