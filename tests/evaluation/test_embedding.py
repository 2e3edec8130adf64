"""Embedding, kNN and accuracies against slow loops."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from supcon.config import Config
from supcon.evaluation.accuracy import accuracy, balanced_accuracy, is_balanced
from supcon.evaluation.embedding import BATCH, Embedded, embed
from supcon.evaluation.knn import knn_predict
from supcon.images.split import Splits
from supcon.network.models import Encoder, Network, network_for

CPU = torch.device("cpu")


def features(n: int, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def labels(n: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed))


def predict(bank: Tensor, y: Tensor, queries: Tensor, **changes: Any) -> list[int]:
    options = {"classes": 3, "k": 5, "temperature": 0.07} | changes
    ks = [options.pop("k")]
    (predictions,) = knn_predict(bank, y, queries, ks=ks, **options)
    ids: list[int] = predictions.tolist()
    return ids


def slow_votes(
    bank: Tensor, y: Tensor, queries: Tensor, k: int, temperature: float
) -> list[list[float]]:
    """The votes for each of three classes; of all that are as near as the k-th neighbour."""
    votes = []
    for q in queries.double():
        cosines = [float(q @ b / (q.norm() * b.norm())) for b in bank.double()]
        nearest = [j for j in range(len(bank)) if cosines[j] >= sorted(cosines)[-k]]
        each = [0.0, 0.0, 0.0]
        for j in nearest:
            each[int(y[j])] += math.exp(cosines[j] / temperature)
        votes.append(each)
    return votes


def slow_knn(bank: Tensor, y: Tensor, queries: Tensor, k: int, temperature: float) -> list[int]:
    votes = slow_votes(bank, y, queries, k, temperature)
    return [each.index(max(each)) for each in votes]


@pytest.mark.parametrize("k", [1, 5, 20, 40])
@pytest.mark.parametrize("temperature", [0.07, 0.3, 1.0])
def test_knn_equals_a_slow_loop(k: int, temperature: float) -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    bank = bank + nn.functional.one_hot(y, 4)  # so that all classes get votes
    ids = predict(bank, y, queries, k=k, temperature=temperature)
    assert ids == slow_knn(bank, y, queries, k, temperature)
    assert len(set(ids)) > 1


def test_the_nearest_neighbour_is_that_of_pytorch_metric_learning() -> None:
    bank, y, queries, query_y = features(60), labels(60), features(30, seed=1), labels(30, seed=1)
    unit = torch.nn.functional.normalize
    calculator = AccuracyCalculator(
        include=("precision_at_1",), k=1, device=CPU, knn_func=CustomKNN(CosineSimilarity())
    )
    theirs = calculator.get_accuracy(unit(queries), query_y, unit(bank), y)
    ours = accuracy(torch.tensor(predict(bank, y, queries, k=1)), query_y)
    assert ours == pytest.approx(theirs["precision_at_1"])


def test_several_k_are_voted_on_at_once_as_each_alone() -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    together = knn_predict(bank, y, queries, classes=3, ks=[9, 1, 99], temperature=0.07)
    for k, ids in zip([9, 1, 99], together, strict=True):
        assert ids.tolist() == predict(bank, y, queries, k=k)


def test_k_is_clamped_to_the_bank() -> None:
    bank, y, queries = features(7), labels(7), features(5, seed=1)
    assert predict(bank, y, queries, k=200) == predict(bank, y, queries, k=7)


def test_knn_ignores_the_order_of_bank_and_queries() -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    ids = predict(bank, y, queries)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert predict(bank[order], y[order], queries) == ids
    assert predict(bank, y, queries.flip(0)) == ids[::-1]


def test_knn_ignores_the_length_of_features() -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    lengths = torch.rand(40, 1, generator=torch.Generator().manual_seed(2)) * 100 + 0.1
    assert predict(bank * lengths, y, queries * 7) == predict(bank, y, queries)


# Points at the corners of two crosses: all their cosines are multiples of 1/2, without rounding.
SIGNS = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 4)
CORNERS = torch.cat([torch.eye(4), -torch.eye(4), SIGNS / 2])


def corners(n: int, seed: int) -> Tensor:
    return CORNERS[labels(n, classes=len(CORNERS), seed=seed)]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_all_neighbours_as_near_as_the_last_one_vote(k: int) -> None:
    bank, y, queries = corners(60, 0), labels(60), corners(40, 1)
    votes = torch.tensor(slow_votes(bank, y, queries, k, temperature=0.5))
    best = votes.sort(descending=True).values
    is_clear = best[:, 0] > 1.001 * best[:, 1]  # rounding does not decide
    assert is_clear.sum() > 20
    ids = torch.tensor(predict(bank, y, queries, k=k, temperature=0.5))
    assert torch.equal(ids[is_clear], votes.argmax(1)[is_clear])


@pytest.mark.parametrize("k", [1, 3, 10])
def test_knn_ignores_the_order_of_a_bank_with_duplicates(k: int) -> None:
    bank, y, queries = corners(60, 0), labels(60), corners(40, 1)
    votes = torch.tensor(slow_votes(bank, y, queries, k, temperature=0.5))
    best = votes.sort(descending=True).values
    is_clear = best[:, 0] > 1.001 * best[:, 1]
    ids = torch.tensor(predict(bank, y, queries, k=k, temperature=0.5))
    for seed in range(5):
        order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
        turned = torch.tensor(predict(bank[order], y[order], queries, k=k, temperature=0.5))
        assert torch.equal(turned[is_clear], ids[is_clear])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_of_two_equal_nearest_neighbours_the_lowest_class_wins(order: list[int]) -> None:
    bank, y = torch.stack([CORNERS[9], CORNERS[9], CORNERS[0]]), torch.tensor([2, 1, 0])
    assert predict(bank[order], y[order], CORNERS[9:10], k=1) == [1]


@pytest.mark.parametrize("n", [5, 17, 33])
def test_copies_of_an_image_are_equally_near(n: int) -> None:
    bank, queries = features(1, dim=16).expand(n, -1), features(2, dim=16, seed=1)
    for lowest_at in range(n):
        y = torch.full((n,), 2)
        y[lowest_at] = 1
        assert predict(bank, y, queries, k=1) == [2, 2]


@pytest.mark.parametrize("n", [1, BATCH - 1, BATCH, BATCH + 1])
def test_every_image_is_scored(n: int) -> None:
    bank, y, queries = features(40), labels(40), features(n, seed=1)
    ids = predict(bank, y, queries)
    assert len(ids) == n
    assert ids[-1] == predict(bank, y, queries[-1:])[0]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_equal_votes_the_lowest_class_wins(order: list[int]) -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    queries = torch.tensor([[1.0, 1.0]])
    assert predict(bank, torch.tensor([2, 1])[order], queries, k=2) == [1]


@pytest.mark.parametrize("temperature", [1e-4, 1e4])
def test_votes_are_finite_at_any_temperature(temperature: float) -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    y = torch.tensor([2, 1, 1])
    nearest = predict(bank, y, torch.tensor([[1.0, 0.1]]), k=3, temperature=temperature)
    assert nearest == ([2] if temperature < 1 else [1])


def test_features_in_half_precision_vote_in_full() -> None:
    bank, y, queries = features(40).half(), labels(40), features(25, seed=1).half()
    assert predict(bank, y, queries, temperature=0.05) == predict(
        bank.float(), y, queries.float(), temperature=0.05
    )


def test_classes_that_no_query_has_take_part_in_the_vote() -> None:
    bank, y = CORNERS[:4], torch.tensor([0, 6, 2, 1])
    assert predict(bank, y, CORNERS[1:2], classes=7, k=1) == [6]


def test_a_class_that_the_bank_lacks_is_never_predicted() -> None:
    assert set(predict(features(9), torch.full((9,), 1), features(5, seed=1), classes=7)) == {1}


class Sum(nn.Module):
    """Features of an image: the sum over each channel, times weights."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)
        self.linear.weight = nn.Parameter(torch.eye(3) / 2)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.linear(images.sum((2, 3)))
        return x


def sums() -> Network:
    """A network whose features are half the sums over channels, and its output that of these."""
    head = nn.Linear(3, 1, bias=False)
    nn.init.ones_(head.weight)
    return Network(Encoder(Sum(), torch.zeros(3), torch.ones(3)), head).eval()


def pixels(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)


def embedded(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Embedded:
    return embed(sums(), images, device=CPU, autocast=nullcontext)


@pytest.mark.parametrize("n", [1, BATCH, BATCH + 1, 2 * BATCH + 7])
def test_embedding_equals_one_big_forward_pass(n: int) -> None:
    images = pixels(n)
    images.setflags(write=False)  # as handed out by a search
    found = embedded(images)
    expected = 0.5 * torch.tensor(images.astype(np.float32).sum((1, 2))) / 255
    torch.testing.assert_close(found.features, expected)
    torch.testing.assert_close(found.outputs, expected.sum(1, keepdim=True))


def test_embedding_keeps_no_graph() -> None:
    found = embedded(pixels(3))
    assert not found.features.requires_grad
    assert not found.outputs.requires_grad


def test_each_image_goes_through_encoder_and_head_once() -> None:
    network, n = sums(), BATCH + 9
    seen: dict[nn.Module, list[Tensor]] = {network.encoder: [], network.head: []}
    for module, inputs in seen.items():
        module.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0]))
    images = pixels(n)
    found = embed(network, images, device=CPU, autocast=nullcontext)
    encoded = torch.cat(seen[network.encoder])
    assert torch.equal(encoded, torch.tensor(images).permute(0, 3, 1, 2))
    assert torch.equal(torch.cat(seen[network.head]), found.features)


def test_embedding_ignores_the_order_of_images() -> None:
    images = pixels(BATCH + 9)
    found, turned = embedded(images), embedded(images[::-1].copy())
    assert torch.equal(turned.features.flip(0), found.features)
    assert torch.equal(turned.outputs.flip(0), found.outputs)


def test_embeddings_are_fp32_under_autocast() -> None:
    found = embed(
        sums(), pixels(3), device=CPU, autocast=lambda: torch.autocast("cpu", torch.bfloat16)
    )
    for values in (found.features, found.outputs):
        assert values.dtype == torch.float32
        assert torch.equal(values, values.bfloat16().float())  # computed in bf16


def test_embedding_leaves_the_network_bit_identical(tiny: Config, digits: Splits) -> None:
    network = network_for(tiny, digits).eval()
    before = copy.deepcopy(network.state_dict())
    embed(network, digits.val.images, device=CPU, autocast=nullcontext)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(("right", "expected"), [(0, 0.0), (1, 1 / 3), (3, 1.0)])
def test_accuracy_is_the_share_of_right_answers(right: int, expected: float) -> None:
    answers = torch.arange(3)
    assert accuracy(torch.where(answers < right, answers, -1), answers) == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_is_that_of_scikit_learn(seed: int) -> None:
    y, guesses = labels(30, classes=6, seed=seed), labels(30, classes=6, seed=seed + 10)
    predictions = torch.where(labels(30, classes=2, seed=seed) == 0, y, guesses)
    y, predictions = y[y != 3], predictions[y != 3]  # a class that never occurs, only as a guess
    expected = balanced_accuracy_score(y.numpy(), predictions.numpy())
    assert balanced_accuracy(predictions, y) == pytest.approx(expected, abs=1e-12)
    assert balanced_accuracy(predictions, y) != accuracy(predictions, y)


def test_balanced_accuracy_of_the_most_frequent_class_is_chance() -> None:
    y = torch.tensor([0] * 90 + [1] * 10)
    assert accuracy(torch.zeros_like(y), y) == pytest.approx(0.9)
    assert balanced_accuracy(torch.zeros_like(y), y) == 0.5


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([10, 10, 10], True),
        ([10, 12, 11], True),
        ([10, 13, 10], False),
        ([5, 0, 6], True),  # a class that does not occur does not count
        ([5, 0, 7], False),
        ([1, 2], False),
        ([7], True),
    ],
)
def test_classes_are_balanced_up_to_a_fifth(counts: list[int], expected: bool) -> None:
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    assert is_balanced(y) is expected
    assert is_balanced(y.flip(0)) is expected
