"""What Moorage writes into Temporal beside payloads: search attributes, memos, and marks of encryption."""
