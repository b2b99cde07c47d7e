"""The stand-in for Microsoft Entra ID: groups, members and users of Microsoft Graph, version 1.0."""
