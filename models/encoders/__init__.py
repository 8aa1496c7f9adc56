"""Encoders that others trained, one file each: the network and how its published weights map to it."""
