"""Predictions of a trained run: the beats of recordings, the rows of a table."""
