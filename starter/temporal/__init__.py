"""Temporal as the API sees it: errors and updates."""
