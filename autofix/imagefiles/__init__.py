"""Picture files: discovery, decoding, encoding, and writing without half-written files."""
