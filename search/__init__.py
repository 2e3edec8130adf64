"""Hyper-parameter search over `supcon`, on Ray Tune and Optuna; docs/architecture.md shows it."""
