"""Stand-ins for Okta and Microsoft Entra ID, written from the vendors' documentation.

They serve what manages groups and finds people; they have no sign-in.
"""
