"""Placement: which hosts take a request, and reservations of their capacity."""
