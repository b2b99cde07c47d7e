"""A real Keycloak on loopback for the tests, from Maven's package; nothing of it is in this repository."""
