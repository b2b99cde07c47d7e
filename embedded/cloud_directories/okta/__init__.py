"""The stand-in for Okta: groups, their members and users of the management API, version 1."""
