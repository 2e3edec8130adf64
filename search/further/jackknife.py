"""Any measure as a mean over blocks of images: the delete-group jackknife.

From a run's measure on all images, t, and without each of J blocks, t_j, come pseudo-values
J t - (J - 1) t_j, whose variance divided by J is about that of t, whatever the measure (Shao & Tu
1995, The Jackknife and Bootstrap, ch. 2); where it is a mean, they are the means of the blocks.
They are shifted so that their own mean is t: that would otherwise be corrected for bias, which all
configurations share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pseudo_values(found: Sequence[float]) -> npt.NDArray[np.float64]:
    """(J,) values of blocks, whose mean is the measure.

    Args:
        found: the measure on all images, then without each of J blocks.
    """
    whole, without = found[0], np.array(found[1:])
    return whole + (len(without) - 1) * (without.mean() - without)
