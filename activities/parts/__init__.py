"""What steps are made of: resources, manifests and look-ups that several steps share."""
