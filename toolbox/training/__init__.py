"""Optimizers, schedulers, losses, samplers, baselines and transfer."""
