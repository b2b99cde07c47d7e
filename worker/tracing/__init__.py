"""Traces: what is recorded of requests, workflows, activities and outgoing calls, and its export."""
