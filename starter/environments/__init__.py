"""Environments as the API handles them: plan, request, read, list, watch and tear down."""
