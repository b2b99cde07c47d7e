"""The workflows: which step runs when, and how it is undone.

They are deterministic and import contracts only.
"""
