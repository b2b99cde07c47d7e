"""The command line: for developers a client of the HTTP API, for operators the verbs that run Moorage.

Modules here import nothing heavy at the top: `moorage --help` and completion are to answer at once.
"""
