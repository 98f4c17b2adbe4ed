"""Picture files: found, decoded, encoded, written whole."""
