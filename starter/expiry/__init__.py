"""Expiry: schedules, sweeps on request, and the freeze."""
