"""Checks of parts by kind: a word for a property, and the function from a part to its fault, "" without one."""
