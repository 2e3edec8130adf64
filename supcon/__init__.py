"""Two-stage supervised contrastive learning in plain PyTorch."""
