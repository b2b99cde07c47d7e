"""Monitoring of a running installation: warnings, stuck environments, health, and encryption keys."""
