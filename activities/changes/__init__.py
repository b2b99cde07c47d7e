"""What the changes of an environment that is ready do outside."""
