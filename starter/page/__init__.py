"""The developers' page: HTML for browsers, served by the API's process from the same services."""
