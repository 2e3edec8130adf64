"""A real photograph, small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor


@pytest.fixture(scope="session")
def photograph() -> Tensor:
    """(3, 32, 32) uint8: roofs of a temple, of scikit-learn."""
    whole = Image.fromarray(load_sample_image("china.jpg")).crop((100, 50, 420, 370))
    return torch.from_numpy(np.array(whole.resize((32, 32)))).permute(2, 0, 1)
