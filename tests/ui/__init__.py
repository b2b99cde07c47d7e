"""The developers' page as people use it, in a real Chromium against a running stack."""
