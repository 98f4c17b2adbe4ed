"""Folders in which pictures arrive."""
