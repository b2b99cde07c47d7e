"""Authentication, authorization, and the security log."""
