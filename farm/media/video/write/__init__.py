"""Writing films: which encoder, one segment encoded once, and all segments with everything else in one file."""
