"""Attributions, the maps they come from, and checks of them."""
