"""Networks for signals, one file an architecture."""
