"""Requests for several environments at once: from a file or by a count, with one summary."""
