"""The identity provider of the embedded stack: a real SCIM 2.0 directory, on scim2-server, kept in SQLite.

It holds people and groups. It has no sign-in.
"""
