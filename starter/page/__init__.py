"""The developers' page: HTML over the services of the API, in the same process. It decides nothing."""
