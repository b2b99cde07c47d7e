"""Sign-in by OpenID Connect: tokens of issuers that the settings name, verified without asking the issuer."""
