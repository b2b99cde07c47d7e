"""Tests against a real Keycloak; `make keycloak` runs them. See tools/keycloak."""
