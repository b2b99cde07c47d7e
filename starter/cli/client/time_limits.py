"""How long the command line waits for the API."""

#: Longer than the API's timeouts for Temporal, so that the API reports the problem.
TIMEOUT_SECONDS = 40.0
CONNECT_SECONDS = 5.0
