"""Sign-in by OpenID Connect: files of issuers, verification of tokens, and issuers that misbehave."""
