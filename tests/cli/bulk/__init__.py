"""Requests for several environments at once."""
