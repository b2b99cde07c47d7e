"""The routes of the HTTP API: they translate between HTTP and the inner modules, and decide nothing."""
