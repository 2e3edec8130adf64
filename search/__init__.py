"""Hyper-parameter search over `supcon`, on Ray Tune and Optuna."""
