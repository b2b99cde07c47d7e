"""Traces: the spans of requests, workflows, activities and outgoing requests, and their export."""
