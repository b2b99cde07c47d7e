"""What needs attention while Moorage runs."""
