"""Retrieval and clustering metrics of embeddings, by pytorch-metric-learning's AccuracyCalculator.

Too slow for every evaluated epoch (k-means, and as many neighbours as the largest class has
images), so `python -m supcon evaluate` computes them, and training does not.
"""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

QUERIES = 512  # in a block; neighbours of all queries at once would not fit into memory

RETRIEVAL = {  # pytorch-metric-learning's name -> ours
    "precision_at_1": "precision_at_1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map_at_r",
}


def retrieval_metrics(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor
) -> dict[str, float]:
    """How well queries find their class in the bank by cosine similarity (arXiv:2003.08505).

    Args:
        bank: (N, D) embeddings of the training images.
        bank_labels: (N,) class ids; every class of the queries occurs.
        queries: (M, D) embeddings of other images.
        query_labels: (M,) class ids.

    Returns:
        precision_at_1, r_precision and map_at_r (mAP@R), in [0, 1]. R is the number of images that
        a query's class has in the bank; for all of them to be found, k is the largest R.
    """
    k = max(Counter(bank_labels.tolist()).values())
    calculator = AccuracyCalculator(
        include=tuple(RETRIEVAL), k=k, device=bank.device, knn_func=CustomKNN(CosineSimilarity())
    )
    sums = dict.fromkeys(RETRIEVAL.values(), 0.0)
    for x, y in zip(queries.split(QUERIES), query_labels.split(QUERIES), strict=True):
        scores = calculator.get_accuracy(x, y, bank, bank_labels)
        for theirs, ours in RETRIEVAL.items():
            sums[ours] += scores[theirs] * len(x)
    return {name: total / len(queries) for name, total in sums.items()}


def clustering_metrics(embeddings: Tensor, labels: Tensor, *, seed: int) -> dict[str, float]:
    """Agreement of k-means clusters, one for each class that occurs, with the classes.

    Args:
        embeddings: (N, D); clustered by direction (normalised first).
        labels: (N,) class ids.
        seed: of the k-means start; the best of three starts counts.

    Returns:
        ami and nmi: adjusted (for chance) and normalised mutual information, at most 1.
    """

    def cluster(x: Tensor, n_clusters: int) -> Tensor:
        kmeans = KMeans(n_clusters, n_init=3, random_state=seed)
        # One thread: OpenMP's wait for each other where cores are shared (145 s against 3.8 s for
        # 5,000 vectors and 1,000 clusters beside another job on 2 cores).
        with threadpool_limits(1):
            return torch.from_numpy(kmeans.fit_predict(x.numpy()))

    calculator = AccuracyCalculator(
        include=("AMI", "NMI"),
        device=torch.device("cpu"),
        kmeans_func=cluster,
        knn_func=CustomKNN(CosineSimilarity()),
    )
    unit = F.normalize(embeddings.float(), dim=1).cpu()
    scores = calculator.get_accuracy(unit, labels.cpu())
    return {"ami": scores["AMI"], "nmi": scores["NMI"]}
