"""R peaks, gaps, beats against a reference, rhythm."""
