"""Identity providers: people, groups and membership."""
