"""The client of Moorage's API: where it is, the calls, and the errors of responses."""
