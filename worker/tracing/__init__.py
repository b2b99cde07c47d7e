"""Traces: what is recorded of requests, workflows, activities and outgoing requests, and its export."""
