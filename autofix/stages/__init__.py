"""The steps of a fix, in order: detect, choose, mask, crop, inpaint, blend, check.

Each is a plain function that takes one value and returns a new one. None imports another; the
pipeline alone knows their order.
"""
