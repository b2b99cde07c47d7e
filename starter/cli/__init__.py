"""The command line: a client of the HTTP API for developers, and the commands that run Moorage for operators.

Modules here import nothing heavy at the top, so that `moorage --help` and completion answer without delay.
"""
