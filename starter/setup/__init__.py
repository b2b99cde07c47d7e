"""The set-up of an installation: a list of parts, each with a check and, where possible, a repair.

All parts must be well before users can request environments. `moorage setup` checks and repairs them;
`moorage doctor` checks them and reports.
"""
