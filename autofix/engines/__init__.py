"""Engines, which inpaint Crops. `base` defines their interface."""
