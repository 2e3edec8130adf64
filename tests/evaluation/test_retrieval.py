"""Retrieval metrics against a slow loop, clustering metrics against scikit-learn."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from torch import Tensor

from supcon.evaluation import retrieval
from supcon.evaluation.retrieval import clustering_metrics, retrieval_metrics

Labelled = tuple[Tensor, Tensor]

NAMES = {
    "precision_at_1": "precision_at_1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map_at_r",
}


def clouds(counts: list[int], *, spread: float = 1.0, seed: int = 0) -> Labelled:
    """So many points of each class around its centre, of any length, in random order."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    y = y[torch.randperm(len(y), generator=generator)]
    centres = F.one_hot(y, 6).float()
    x = centres + spread * torch.randn(len(y), 6, generator=generator)
    return x * (0.1 + torch.rand(len(y), 1, generator=generator)), y


BANK = clouds([12, 5, 3, 1])
QUERIES = clouds([9, 4, 6, 2], seed=1)


def slow_metrics(bank: Tensor, bank_y: Tensor, queries: Tensor, y: Tensor) -> dict[str, float]:
    """The definitions of arXiv:2003.08505, section 3, query by query."""
    sums = dict.fromkeys(NAMES.values(), 0.0)
    for q, label in zip(queries.double(), y.tolist(), strict=True):
        cosines = [float(q @ b / (q.norm() * b.norm())) for b in bank.double()]
        ranked = sorted(range(len(bank)), key=lambda j: -cosines[j])
        hits = [int(bank_y[j]) == label for j in ranked]
        r = sum(hits)
        sums["precision_at_1"] += hits[0]
        sums["r_precision"] += sum(hits[:r]) / r
        sums["map_at_r"] += sum(sum(hits[: i + 1]) / (i + 1) for i in range(r) if hits[i]) / r
    return {name: total / len(y) for name, total in sums.items()}


def calculated(
    k: int | str, bank: Tensor, bank_y: Tensor, x: Tensor, y: Tensor
) -> dict[str, float]:
    """By one call of pytorch-metric-learning."""
    calculator = AccuracyCalculator(
        include=tuple(NAMES),
        k=k,
        device=torch.device("cpu"),
        knn_func=CustomKNN(CosineSimilarity()),
    )
    scores = calculator.get_accuracy(x, y, bank, bank_y)
    return {ours: scores[theirs] for theirs, ours in NAMES.items()}


@pytest.mark.parametrize("block", [1, 7, 20, 21, 512])
def test_retrieval_equals_a_slow_loop(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(retrieval, "QUERIES", block)
    found = retrieval_metrics(*BANK, *QUERIES)
    assert found == pytest.approx(slow_metrics(*BANK, *QUERIES), abs=1e-9)
    assert len({*found.values()}) == 3  # three different truths


def test_retrieval_in_blocks_equals_pytorch_metric_learning_on_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "QUERIES", 4)
    expected = calculated("max_bin_count", *BANK, *QUERIES)
    assert retrieval_metrics(*BANK, *QUERIES) == pytest.approx(expected, abs=1e-9)


def test_retrieval_looks_at_as_many_neighbours_as_the_largest_class_has() -> None:
    found = retrieval_metrics(*BANK, *QUERIES)
    assert found["map_at_r"] == pytest.approx(calculated(12, *BANK, *QUERIES)["map_at_r"])
    for k in (1, 11):
        assert found["map_at_r"] > calculated(k, *BANK, *QUERIES)["map_at_r"] + 1e-3


def test_retrieval_finds_everything_in_classes_that_lie_apart() -> None:
    apart = retrieval_metrics(*clouds([5, 9, 2], spread=0.01), *clouds([2, 1, 7], spread=0.01))
    assert apart == {"precision_at_1": 1, "r_precision": 1, "map_at_r": 1}


def test_retrieval_ignores_the_order_of_bank_and_queries() -> None:
    (bank, bank_y), (x, y) = BANK, QUERIES
    turned = retrieval_metrics(bank.flip(0), bank_y.flip(0), x.flip(0), y.flip(0))
    assert turned == pytest.approx(retrieval_metrics(*BANK, *QUERIES), abs=1e-12)


@pytest.mark.slow
def test_retrieval_and_clustering_need_no_faiss() -> None:
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "import torch\n"
        "from supcon.evaluation.retrieval import clustering_metrics, retrieval_metrics\n"
        "x, y = torch.eye(4).repeat(3, 1), torch.arange(4).repeat(3)\n"
        "print(retrieval_metrics(x, y, x, y)['map_at_r'], clustering_metrics(x, y, seed=0)['nmi'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [float(value) for value in done.stdout.split()] == pytest.approx([1, 1])


def test_clusters_that_are_the_classes_score_1() -> None:
    scores = clustering_metrics(*clouds([10, 20, 5, 10], spread=0.01), seed=0)
    assert scores == pytest.approx({"ami": 1, "nmi": 1})


def test_labels_that_say_nothing_score_about_0_after_the_adjustment() -> None:
    x, y = clouds([40, 40, 40], spread=0.01)
    shuffled = y[torch.randperm(120, generator=torch.Generator().manual_seed(3))]
    scores = clustering_metrics(x, shuffled, seed=0)
    assert abs(scores["ami"]) < 0.05
    assert scores["nmi"] > scores["ami"]


def test_clustering_is_that_of_scikit_learn_by_direction() -> None:
    x, y = clouds([12, 20, 7], spread=0.5)
    kmeans = KMeans(3, n_init=3, random_state=5)
    clusters = kmeans.fit_predict(F.normalize(x, dim=1).numpy())
    assert clustering_metrics(x, y, seed=5) == pytest.approx(
        {
            "ami": adjusted_mutual_info_score(y.numpy(), clusters),
            "nmi": normalized_mutual_info_score(y.numpy(), clusters),
        },
        abs=1e-9,
    )


def test_the_same_seed_gives_the_same_clusters() -> None:
    x, y = clouds([30, 30, 30, 30], spread=2.0)
    first, again, other = (clustering_metrics(x, y, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other  # points this far spread have many clusterings


def test_clusters_are_as_many_as_classes_that_occur() -> None:
    x, y = clouds([15, 0, 15, 0, 15], spread=0.01)
    assert clustering_metrics(x, y, seed=0) == pytest.approx({"ami": 1, "nmi": 1})
