"""What those who keep Moorage up to date run: no part of it."""
