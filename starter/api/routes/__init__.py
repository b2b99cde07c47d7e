"""The routes of the HTTP API: they translate, and decide nothing."""
