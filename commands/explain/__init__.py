"""Explanations of a trained run: attributions of its rows, checks, and their page."""
