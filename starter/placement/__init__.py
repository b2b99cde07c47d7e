"""Placement: which hosts can take a request, and reservations of their capacity."""
