"""The one error that detectors raise."""


class DetectorError(Exception):
    """A model, a boxes file, a picture or a setting that a detector cannot work with.

    The message says what was wrong, quotes the value, and names the setting or command that helps.
    """
