"""Model files: name -> verified path. Knows neither autofix nor the detectors."""
