"""`make image`: the image of the Dockerfile without Docker, with its bill of materials and its provenance."""
