"""The losses against slow loops, other people's code, and what must hold for any batch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch import Tensor

from supcon.losses import cross_entropy, supcon_loss

# Two images of class 0 and one of class 1 in two views each, not normalised, and the loss of each
# image at temperature 1: losses_test.py of google-research/supcon (contrast mode all, L_out).
GOLDEN_FEATURES = [
    [[0.01, 0.02, 0.14], [0.38, 0.61, 0.50]],
    [[0.86, 0.97, 0.33], [0.26, 0.68, 0.45]],
    [[0.32, 0.64, 0.28], [0.45, 0.74, 0.73]],
]
GOLDEN_LOSSES = [1.6755852, 1.7973773, 1.58471]


def unit_vectors(n: int, dim: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, dim, generator=generator, dtype=torch.float64), dim=1)


def anchor_losses(z: Tensor, labels: Tensor, temperature: float) -> dict[int, Tensor]:
    """Equation 2 of the paper for each anchor that has a positive, as slowly as it is written."""
    losses = {}
    n = len(z)
    for i in range(n):
        others = [a for a in range(n) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if positives:
            denominator = sum((z[i] @ z[a] / temperature).exp() for a in others)
            terms = [((z[i] @ z[p] / temperature).exp() / denominator).log() for p in positives]
            losses[i] = -sum(terms, torch.zeros(())) / len(positives)
    return losses


def double_loop(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    return torch.stack(list(anchor_losses(z, labels, temperature).values())).mean()


def value_and_gradient(loss: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    (gradient,) = torch.autograd.grad(loss, z)
    return loss.detach(), gradient


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 1, 4, 0]],
    ids=["balanced", "one class", "uneven, three anchors alone"],
)
def test_loss_equals_the_double_loop_of_the_paper(labels: list[int], temperature: float) -> None:
    z, y = unit_vectors(8).requires_grad_(), torch.tensor(labels)
    ours = value_and_gradient(supcon_loss(z, y, temperature=temperature), z)
    slow = value_and_gradient(double_loop(z, y, temperature), z)
    torch.testing.assert_close(ours, slow, rtol=1e-9, atol=1e-12)


def test_loss_equals_the_golden_values_of_the_authors_code() -> None:
    samples = torch.tensor(GOLDEN_FEATURES, dtype=torch.float64)
    z = samples.transpose(0, 1).reshape(6, 3)  # view after view
    labels = torch.tensor([0, 0, 1, 0, 0, 1])
    by_anchor = anchor_losses(z, labels, 1.0)
    per_sample = [float(by_anchor[i] + by_anchor[i + 3]) / 2 for i in range(3)]
    assert per_sample == pytest.approx(GOLDEN_LOSSES, abs=1e-6)
    loss = supcon_loss(z, labels, temperature=1.0)
    assert loss.item() == pytest.approx(sum(GOLDEN_LOSSES) / 3, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_equals_pytorch_metric_learning(temperature: float) -> None:
    # Theirs leaves anchors with a loss of exactly 0 out of the mean; there is none here.
    z, y = unit_vectors(12).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 3, 0, 1, 2, 0, 1, 4])
    ours = value_and_gradient(supcon_loss(z, y, temperature=temperature), z)
    theirs = value_and_gradient(SupConLoss(temperature=temperature)(z, y), z)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-9, atol=0)
    # Theirs normalises once more, which takes the radial part out of the gradient.
    radial = (ours[1] * z).sum(1, keepdim=True) * z
    torch.testing.assert_close(ours[1] - radial, theirs[1], rtol=1e-7, atol=1e-10)


def test_loss_with_a_class_for_each_image_is_the_loss_of_simclr() -> None:
    z, y = unit_vectors(10), torch.arange(5).repeat(2)
    ours = supcon_loss(z, y, temperature=0.2)
    torch.testing.assert_close(ours, NTXentLoss(temperature=0.2)(z, y), rtol=1e-9, atol=0)


def test_loss_ignores_the_order_of_the_batch() -> None:
    z, y = unit_vectors(10), torch.tensor([0, 1, 1, 0, 2, 2, 0, 3, 1, 0])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    shuffled = supcon_loss(z[order], y[order], temperature=0.1)
    torch.testing.assert_close(shuffled, supcon_loss(z, y, temperature=0.1), rtol=1e-12, atol=0)


def test_loss_ignores_the_names_of_the_classes() -> None:
    z, y = unit_vectors(8), torch.tensor([0, 1, 1, 0, 2, 2, 0, 1])
    renamed = supcon_loss(z, torch.tensor([7, -2, 90])[y], temperature=0.1)
    assert renamed == supcon_loss(z, y, temperature=0.1)


def test_loss_ignores_a_rotation_of_the_space() -> None:
    z, y = unit_vectors(8), torch.tensor([0, 1, 1, 0, 2, 2, 0, 1])
    rotation, _ = torch.linalg.qr(unit_vectors(8, seed=1))
    rotated = supcon_loss(z @ rotation, y, temperature=0.1)
    torch.testing.assert_close(rotated, supcon_loss(z, y, temperature=0.1), rtol=1e-9, atol=0)


def test_loss_ignores_which_view_comes_first() -> None:
    z, y = unit_vectors(8), torch.tensor([0, 1, 1, 2]).repeat(2)
    swapped = supcon_loss(z.roll(4, dims=0), y, temperature=0.1)
    torch.testing.assert_close(swapped, supcon_loss(z, y, temperature=0.1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [2, 5, 16])
def test_loss_of_a_collapsed_batch_is_the_log_of_the_other_views(n: int) -> None:
    z = unit_vectors(1).expand(n, -1)
    loss = supcon_loss(z, torch.zeros(n), temperature=0.1)
    assert loss.item() == pytest.approx(math.log(n - 1), abs=1e-12)


def test_loss_of_perfect_classes_is_that_of_the_simplex() -> None:
    # 10 classes of 8 views at the corners of a simplex: cosine 1 within, -1/9 between classes.
    corners = F.normalize(torch.eye(10, dtype=torch.float64) - 0.1, dim=1)
    labels = torch.arange(10).repeat(8)
    assert supcon_loss(corners[labels], labels, temperature=0.1).item() == pytest.approx(
        math.log(7 + 72 * math.exp(-10 / 9 / 0.1)), abs=1e-9
    )


def test_anchors_without_a_positive_do_not_count() -> None:
    # An anchor opposite to a collapsed pair: at this temperature its share in the pair's
    # denominators underflows to 0, so the pair alone decides.
    pair = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).requires_grad_()
    loss, gradient = value_and_gradient(
        supcon_loss(pair, torch.tensor([0, 0, 1]), temperature=0.01), pair
    )
    assert loss.item() == 0
    assert gradient[2].tolist() == [0, 0]

    # Five views of which three count: the mean is over those.
    z, y = unit_vectors(5), torch.tensor([0, 0, 0, 1, 2])
    counted = anchor_losses(z, y, 0.1)
    assert sorted(counted) == [0, 1, 2]
    torch.testing.assert_close(
        supcon_loss(z, y, temperature=0.1), sum(counted.values(), torch.zeros(())) / 3
    )


@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_batch_without_any_positive_has_loss_and_gradient_0(n: int) -> None:
    z = unit_vectors(n).float().requires_grad_()
    loss, gradient = value_and_gradient(supcon_loss(z, torch.arange(n), temperature=0.1), z)
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(z))


@pytest.mark.parametrize("temperature", [1e-3, 0.01, 0.014, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("kind", ["random", "collapsed", "opposite", "orthogonal"])
def test_loss_and_gradient_are_finite_at_any_temperature(kind: str, temperature: float) -> None:
    z = {
        "random": unit_vectors(8).float(),
        "collapsed": unit_vectors(1).float().expand(8, -1).clone(),
        # Of each pair of positives one is opposite to the other: the worst case for softmax.
        "opposite": torch.cat([unit_vectors(4), -unit_vectors(4)]).float(),
        "orthogonal": torch.eye(8),
    }[kind].requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 5])
    loss, gradient = value_and_gradient(supcon_loss(z, labels, temperature=temperature), z)
    assert loss.isfinite()
    assert loss >= 0
    assert gradient.isfinite().all()


def test_loss_is_multiplied_by_temperature_over_base_temperature() -> None:
    z, y = unit_vectors(8), torch.tensor([0, 1, 1, 0, 2, 2, 0, 1])
    plain = supcon_loss(z, y, temperature=0.3)
    scaled = supcon_loss(z, y, temperature=0.3, base_temperature=0.07)
    torch.testing.assert_close(scaled, plain * 0.3 / 0.07, rtol=1e-12, atol=0)


def test_scaling_keeps_the_size_of_the_gradient_over_temperatures() -> None:
    y = torch.arange(8).repeat(2)
    norms = []
    for temperature in (0.05, 1.0):
        z = unit_vectors(16, dim=32).requires_grad_()
        loss = supcon_loss(z, y, temperature=temperature, base_temperature=0.1)
        norms.append(value_and_gradient(loss, z)[1].norm().item())
    assert 0.5 < norms[0] / norms[1] < 2  # 20 times without the scaling


def test_the_gradient_is_that_of_finite_differences() -> None:
    z, y = unit_vectors(6, dim=3).requires_grad_(), torch.tensor([0, 1, 1, 0, 2, 0])
    assert torch.autograd.gradcheck(
        lambda z: supcon_loss(z, y, temperature=0.5, base_temperature=0.1), (z,)
    )


def test_loss_of_bf16_embeddings_is_computed_in_fp32() -> None:
    z, y = unit_vectors(16).bfloat16(), torch.arange(4).repeat(4)
    loss = supcon_loss(z, y, temperature=0.1)
    assert loss.dtype == torch.float32
    assert loss == supcon_loss(z.float(), y, temperature=0.1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert cross_entropy(logits, labels, label_smoothing=smoothing) == expected


def test_label_smoothing_spreads_over_all_classes() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3])
    target = 0.9 * F.one_hot(labels, 5) + 0.1 / 5
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, labels, label_smoothing=0.1), expected)


def test_cross_entropy_of_bf16_logits_is_computed_in_fp32() -> None:
    logits, labels = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    loss = cross_entropy(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    assert loss == F.cross_entropy(logits.bfloat16().float(), labels)
