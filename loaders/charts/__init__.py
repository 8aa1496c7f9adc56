"""The view "chart": rows of signals become rows of pictures."""
