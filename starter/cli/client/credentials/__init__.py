"""The credentials of contexts: tokens of `moorage login`, where they are kept, and how they are renewed.

A command that calls the API needs nothing of this: `starter.cli.command_context.api_session` opens a client
whose requests have a valid token, and `connection.find_connection(options)` returns the `Connection` of the
current context, whose `access_token()` returns one and renews it when that is due.
"""
