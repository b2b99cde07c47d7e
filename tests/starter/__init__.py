"""Tests of the ways in: the catalogue, the tokens, the HTTP API and the command line."""
