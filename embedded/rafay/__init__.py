"""A stand-in for a Rafay controller: its REST API as far as Moorage uses it, over SQLite.

It is no Rafay controller: where Rafay publishes no fact, the choice is ours; `error_responses` has those
about errors in one table.
"""
