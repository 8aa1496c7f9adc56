"""Generated beats, patients, strips and twelve-lead records."""
