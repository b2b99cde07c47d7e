"""A stand-in for a Rafay controller: its REST API as far as Moorage uses it, over SQLite.

A process of its own (`python -m embedded.rafay`). Not a Rafay controller: where Rafay publishes no fact, the
choice made here is ours, and `answers.py` has all of those about errors in one table.
"""
