"""Tests of the client of a real host cluster."""
