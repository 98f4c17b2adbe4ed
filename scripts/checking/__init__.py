"""Labelled patches for the check stage: good fixes, and faces broken on purpose."""
