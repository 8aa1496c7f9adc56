"""Dataset `ptbxl`: its tables, records and labels, and the folds of its publisher."""
