"""Clients of the outside systems: hosts, Rafay, identity providers, Helm, mail and webhooks."""
