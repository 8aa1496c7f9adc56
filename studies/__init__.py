"""Studies: plans of many runs, the workers that train them, and the table of results."""
