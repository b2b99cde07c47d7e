"""An environment: its models, and the rules on them. Pure."""
