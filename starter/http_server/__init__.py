"""The HTTP server of the API and the codec server: sockets, limits and deadlines."""
