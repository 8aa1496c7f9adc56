"""Networks for charts."""
