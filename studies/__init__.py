"""Many runs: what is run, by whom, and the table of it."""
