"""How long the command line waits for the API."""

#: Longer than the API's timeouts for Temporal, so that the API reports the problem.
TIMEOUT_SECONDS = 40.0
CONNECT_SECONDS = 5.0
#: Timeout of a read, for all attempts together. The API's own timeouts for Temporal are shorter, and it
#: reports them.
READ_SECONDS = 20.0
#: Attempts of a call. Every call can be repeated, because calls that change something have a key.
TRIES = 3
