"""Every metric of a run's result: what training reports, retrieval and clustering.

For `python -m supcon evaluate`; training itself reports those of `supcon.evaluation.scores`.
"""

from __future__ import annotations

from supcon.config import Config
from supcon.evaluation.retrieval import clustering_metrics, retrieval_metrics
from supcon.evaluation.scores import accuracies, geometry, labels_of, named, score_embedded
from supcon.evaluation.spread import spread_metrics
from supcon.evaluation.trained import Trained, classify, embed_with
from supcon.images.split import Split, Splits
from supcon.network.models import by_head


def measure(
    trained: Trained, config: Config, data: Splits, test: Split | None = None
) -> dict[str, float]:
    """One embedding pass over train and one over the split serve all of it.

    Args:
        trained: the run's result.
        config: its config.
        data: train and val.
        test: if given, this split is measured, and not val.

    Returns:
        On val the scores of training once more (the probe trained again and cross-fitted), on test
        those of the saved probe; and precision_at_1, r_precision, map_at_r, ami, nmi,
        effective_rank, collapsed, collapsed_classes, alignment, uniformity, nc1, nc2_norms and
        nc2_angles of the features, and with a projection head also of the projections.
    """
    part, split = ("val", data.val) if test is None else ("test", test)
    known = embed_with(trained, config, data.train.images)
    new = embed_with(trained, config, split.images)
    device = new.features.device
    bank_y, y = labels_of(data.train, device), labels_of(split, device)
    if test is None:
        metrics = score_embedded(trained.network, known, new, config, data).metrics
    else:
        predictions = classify(trained, config, data.train, known, new)
        metrics = accuracies(predictions, y.cpu(), part, config)
        metrics |= geometry(config, new, y, part)
    spaces = {"": (known.features, new.features)}
    if config.has_projection:
        projections = [by_head(each.outputs, config)[0] for each in (known, new)]
        spaces["projection_"] = (projections[0], projections[1])
    for prefix, (bank_x, x) in spaces.items():
        found = retrieval_metrics(bank_x, bank_y, x, y)
        found |= clustering_metrics(x, y, seed=config.run.seed) | spread_metrics(x, y)
        metrics |= named(found, f"{part}/{prefix}")
    return metrics
