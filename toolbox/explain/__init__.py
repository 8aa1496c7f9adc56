"""Attributions, feature maps, and checks of attributions."""
