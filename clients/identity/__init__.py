"""Identity providers: users, groups and membership."""
