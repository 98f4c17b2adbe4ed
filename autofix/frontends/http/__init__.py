"""autofix over HTTP."""
