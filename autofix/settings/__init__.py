"""Everything a user can set: the recipe and its TOML files, and the user's own config."""
