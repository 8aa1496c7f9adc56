"""One file a dataset: where its files are and how they are read."""
