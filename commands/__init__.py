"""What the commander can be asked for, one file a verb; flags become objects here."""
