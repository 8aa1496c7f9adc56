"""Bytes of a file become arrays, with faults named."""
