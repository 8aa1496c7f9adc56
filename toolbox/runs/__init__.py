"""A run's folder, its checkpoints, history and predictions."""
