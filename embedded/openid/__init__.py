"""A small OpenID provider for the embedded stack: real flows with accounts that are made up."""
