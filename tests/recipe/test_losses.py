"""The losses against slow loops, other people's code, and what must hold for any batch."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch import Tensor, nn

from supcon.recipe.losses import (
    cross_entropy,
    l_out,
    l_sincere,
    simclr_loss,
    sincere_loss,
    supcon_loss,
)

Loss = Callable[..., Tensor]

CONTRASTIVE: dict[str, Loss] = {
    "supcon": supcon_loss,
    "sincere": sincere_loss,
    "simclr": partial(simclr_loss, views=2),
}
EACH_LOSS = pytest.mark.parametrize("loss", CONTRASTIVE.values(), ids=CONTRASTIVE.keys())
BY_LABELS = pytest.mark.parametrize("loss", [supcon_loss, sincere_loss], ids=["supcon", "sincere"])

# Two images of class 0 and one of class 1 in two views each, not normalised, and the loss of each
# image at temperature 1: losses_test.py of google-research/supcon (contrast mode all, L_out; with
# the denominator that has one positive, it is SINCERE).
GOLDEN_FEATURES = [
    [[0.01, 0.02, 0.14], [0.38, 0.61, 0.50]],
    [[0.86, 0.97, 0.33], [0.26, 0.68, 0.45]],
    [[0.32, 0.64, 0.28], [0.45, 0.74, 0.73]],
]
GOLDEN_LOSSES = [1.6755852, 1.7973773, 1.58471]
GOLDEN_SINCERE_LOSSES = [1.1782627, 1.3435497, 1.58471]


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
    z = F.normalize(z, dim=1)
    return torch.stack(list(anchor_losses(z, labels, temperature).values())).mean()


def sincere_double_loop(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """SINCERE (arXiv:2309.14277), its mean over the anchors that have a positive."""
    z = F.normalize(z, dim=1)
    losses = []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        negatives = [n for n in range(len(z)) if labels[n] != labels[i]]
        repulsion = sum(((z[i] @ z[n] / temperature).exp() for n in negatives), torch.zeros(()))
        terms = []
        for p in positives:
            attraction = (z[i] @ z[p] / temperature).exp()
            terms.append((attraction / (attraction + repulsion)).log())
        if terms:
            losses.append(-torch.stack(terms).mean())
    return torch.stack(losses).mean()


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


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0, 0], [0, 1, 2, 3, 0, 1, 4, 0]],
    ids=["balanced", "unbalanced", "uneven, three anchors alone"],
)
def test_sincere_equals_the_double_loop_of_its_paper(labels: list[int], temperature: float) -> None:
    z, y = unit_vectors(8).requires_grad_(), torch.tensor(labels)
    ours = value_and_gradient(sincere_loss(z, y, temperature=temperature), z)
    slow = value_and_gradient(sincere_double_loop(z, y, temperature), z)
    torch.testing.assert_close(ours, slow, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("of_anchors", "expected"),
    [(l_out, GOLDEN_LOSSES), (l_sincere, GOLDEN_SINCERE_LOSSES)],
    ids=["supcon", "sincere"],
)
def test_loss_equals_the_golden_values_of_the_authors_code(
    of_anchors: Loss, expected: list[float]
) -> None:
    samples = torch.tensor(GOLDEN_FEATURES, dtype=torch.float64)
    z = samples.transpose(0, 1).reshape(6, 3)  # view after view
    ours = of_anchors(z @ z.T, positives(torch.tensor([0, 0, 1, 0, 0, 1])))
    assert ((ours[:3] + ours[3:]) / 2).tolist() == pytest.approx(expected, abs=1e-6)


def test_loss_of_one_hot_embeddings_equals_the_golden_values_of_the_authors_code() -> None:
    # Both views of an image are e3, e2 and e1, of classes 0, 0 and 1.
    z = torch.eye(3, dtype=torch.float64).flip(0).repeat(2, 1)
    labels = torch.tensor([0, 0, 1, 0, 0, 1])
    golden = [1.5714991, 1.5714991, 0.90483244]
    assert l_out(z @ z.T, positives(labels)).tolist() == pytest.approx(golden * 2, abs=1e-6)
    mean = supcon_loss(z, labels, temperature=1.0).item()
    assert mean == pytest.approx(sum(golden) / 3, abs=1e-6)


def soft_double_loop(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """GenSCL (arXiv:2206.00384): cross entropy of latent to label similarity, pair by pair."""
    z = F.normalize(z, dim=1)
    losses = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        denominator = sum((z[i] @ z[a] / temperature).exp() for a in others)
        weights = [F.cosine_similarity(labels[i], labels[a], dim=0) for a in others]
        terms = [
            weight * ((z[i] @ z[a] / temperature).exp() / denominator).log()
            for weight, a in zip(weights, others, strict=True)
        ]
        if (total := torch.stack(weights).sum()) > 0:
            losses.append(-torch.stack(terms).sum() / total)
    return torch.stack(losses).mean()


def soft_labels(n: int = 8, classes: int = 4) -> Tensor:
    """Of two classes each, but for the last, whose class nobody shares."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.zeros(n, classes + 1, dtype=torch.float64)
    for i, row in enumerate(labels[:-1]):
        share = torch.rand((), generator=generator, dtype=torch.float64)
        row[i % classes] += share
        row[(3 * i + 1) % classes] += 1 - share
    labels[-1, classes] = 1
    return labels


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_loss_of_soft_labels_equals_the_double_loop_of_its_paper(temperature: float) -> None:
    z, y = unit_vectors(8).requires_grad_(), soft_labels()
    ours = value_and_gradient(supcon_loss(z, y, temperature=temperature), z)
    slow = value_and_gradient(soft_double_loop(z, y, temperature), z)
    torch.testing.assert_close(ours, slow, rtol=1e-9, atol=1e-12)


def test_loss_of_soft_labels_equals_its_value_by_hand() -> None:
    # Three orthogonal views; the labels of the first two have cosine 1/sqrt(2), the third has none.
    z, y = torch.eye(3, dtype=torch.float64), torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    assert supcon_loss(z, y, temperature=0.3).item() == pytest.approx(math.log(2), abs=1e-7)
    # Moved towards each other by 60 degrees, they see cosine 1/2 against 0.
    z = torch.tensor([[1.0, 0, 0], [0.5, 3**0.5 / 2, 0], [0, 0, 1]], dtype=torch.float64)
    expected = math.log(1 + math.exp(-0.5 / 0.3))
    assert supcon_loss(z, y, temperature=0.3).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("base", [None, 0.1])
@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 2, 3, 0, 1, 4, 0], [0, 1, 2, 3, 4, 5, 6, 7]],
    ids=["balanced", "uneven, three anchors alone", "no positive"],
)
def test_one_hot_labels_are_hard_labels(labels: list[int], base: float | None) -> None:
    z, y = unit_vectors(8).requires_grad_(), torch.tensor(labels)
    loss = partial(supcon_loss, temperature=0.2, base_temperature=base)
    soft = value_and_gradient(loss(z, F.one_hot(y).double()), z)
    hard = value_and_gradient(loss(z, y), z)
    torch.testing.assert_close(soft, hard, rtol=1e-12, atol=1e-14)


def test_soft_labels_are_compared_in_fp32_under_autocast() -> None:
    z, y = unit_vectors(8).float(), soft_labels().float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = supcon_loss(z, y, temperature=0.1)
    assert torch.equal(inside, supcon_loss(z, y, temperature=0.1))


def test_sincere_refuses_soft_labels() -> None:
    with pytest.raises(ValueError, match=r"labels must be \(N,\) class ids, got \(8, 5\)"):
        sincere_loss(unit_vectors(8), soft_labels(), temperature=0.1)


def test_cross_entropy_of_soft_labels_is_their_mean_over_classes() -> None:
    logits = 3 * unit_vectors(8, dim=5)
    y = soft_labels()
    smooth = 0.9 * y + 0.1 / 5
    expected = -(smooth * logits.log_softmax(1)).sum(1).mean()
    found = cross_entropy(logits, y, label_smoothing=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def positives(labels: Tensor) -> Tensor:
    return (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_equals_pytorch_metric_learning(temperature: float) -> None:
    # Theirs leaves anchors with a loss of exactly 0 out of the mean; there is none here.
    z, y = unit_vectors(12).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 3, 0, 1, 2, 0, 1, 4])
    ours = value_and_gradient(supcon_loss(z, y, temperature=temperature), z)
    theirs = value_and_gradient(SupConLoss(temperature=temperature)(z, y), z)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_sincere_of_equal_classes_is_the_nt_xent_of_pytorch_metric_learning(
    temperature: float,
) -> None:
    # Theirs is the mean over pairs; it is the mean over anchors where each has as many positives.
    z, y = unit_vectors(12).requires_grad_(), torch.arange(4).repeat(3)
    ours = value_and_gradient(sincere_loss(z, y, temperature=temperature), z)
    theirs = value_and_gradient(NTXentLoss(temperature=temperature)(z, y), z)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_sincere_is_at_most_supcon(temperature: float) -> None:
    sim = unit_vectors(12) @ unit_vectors(12).T / temperature
    positive = positives(torch.tensor([0, 1, 2, 0, 1, 3, 0, 1, 2, 0, 1, 4]))
    # Anchors with one positive have the same denominator in both.
    assert (l_sincere(sim, positive) <= l_out(sim, positive) + 1e-12).all()
    assert (l_sincere(sim, positive) < l_out(sim, positive))[positive.sum(1) > 1].all()


@pytest.mark.parametrize("loss", [supcon_loss, partial(simclr_loss, views=2)])
def test_loss_with_a_class_for_each_image_is_the_loss_of_simclr(loss: Loss) -> None:
    z, y = unit_vectors(10).requires_grad_(), torch.arange(5).repeat(2)
    ours = value_and_gradient(loss(z, y, temperature=0.2), z)
    theirs = value_and_gradient(NTXentLoss(temperature=0.2)(z, y), z)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_simclr_attracts_the_views_of_an_image_and_nothing_else(views: int) -> None:
    z = unit_vectors(12).requires_grad_()
    image_of_row = torch.tensor([i % (12 // views) for i in range(12)])  # view after view
    y = torch.zeros(12, dtype=torch.long)
    ours = value_and_gradient(simclr_loss(z, y, views=views, temperature=0.3), z)
    slow = value_and_gradient(double_loop(z, image_of_row, 0.3), z)
    torch.testing.assert_close(ours, slow, rtol=1e-9, atol=1e-12)


def test_simclr_ignores_the_labels() -> None:
    z = unit_vectors(8)
    losses = {
        simclr_loss(z, torch.tensor(labels), views=2, temperature=0.1, base_temperature=0.1).item()
        for labels in ([0] * 8, list(range(8)), [0, 1, 1, 0, 2, 2, 0, 1])
    }
    assert len(losses) == 1


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


@BY_LABELS
def test_an_anchor_without_a_positive_has_no_gradient_of_its_own(loss: Loss) -> None:
    # An anchor opposite to a collapsed pair: at this temperature its share in the pair's
    # denominators underflows to 0, so the pair alone decides.
    pair = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).requires_grad_()
    value, gradient = value_and_gradient(
        loss(pair, torch.tensor([0, 0, 1]), temperature=0.01), pair
    )
    assert value.item() == 0
    assert gradient[2].tolist() == [0, 0]


@pytest.mark.parametrize("of_anchors", [l_out, l_sincere])
def test_no_similarity_of_an_anchor_without_a_positive_has_a_gradient(of_anchors: Loss) -> None:
    positive = positives(torch.tensor([0, 0, 0, 1, 2]))
    sim = (unit_vectors(5) @ unit_vectors(5).T / 0.1).requires_grad_()
    losses = of_anchors(sim, positive)
    (gradient,) = torch.autograd.grad(losses.sum(), sim)
    assert losses[3:].tolist() == [0, 0]
    assert torch.equal(gradient[3:], torch.zeros(2, 5, dtype=torch.float64))
    assert (gradient[:3].abs().sum(1) > 0).all()


def test_the_mean_is_over_anchors_that_have_a_positive() -> None:
    z, y = unit_vectors(5), torch.tensor([0, 0, 0, 1, 2])
    counted = anchor_losses(z, y, 0.1)
    assert sorted(counted) == [0, 1, 2]
    torch.testing.assert_close(
        supcon_loss(z, y, temperature=0.1), sum(counted.values(), torch.zeros(())) / 3
    )


def test_anchors_that_fit_perfectly_count() -> None:
    # A pair in one place, opposite to all others: its loss is 0 to the last bit.
    z = unit_vectors(1).expand(5, -1) * torch.tensor([[1.0], [1], [-1], [-1], [-1]])
    y = torch.tensor([0, 0, 1, 1, 1])
    assert anchor_losses(z, y, 0.05)[0] == 0
    loss = supcon_loss(z, y, temperature=0.05).item()
    assert loss == pytest.approx(3 / 5 * math.log(2), abs=1e-12)


@BY_LABELS
@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_batch_without_any_positive_has_loss_and_gradient_0(loss: Loss, n: int) -> None:
    z = unit_vectors(n).float().requires_grad_()
    value, gradient = value_and_gradient(loss(z, torch.arange(n), temperature=0.1), z)
    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(z))


@pytest.mark.parametrize("temperature", [1e-3, 0.1])
def test_without_negatives_sincere_has_loss_and_gradient_0(temperature: float) -> None:
    z = unit_vectors(6).float().requires_grad_()
    value, gradient = value_and_gradient(
        sincere_loss(z, torch.zeros(6, dtype=torch.long), temperature=temperature), z
    )
    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(z))


@EACH_LOSS
@pytest.mark.parametrize("temperature", [1e-3, 0.01, 0.014, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("kind", ["random", "collapsed", "opposite", "orthogonal"])
def test_loss_and_gradient_are_finite_at_any_temperature(
    loss: Loss, kind: str, temperature: float
) -> None:
    z = {
        "random": unit_vectors(8).float(),
        "collapsed": unit_vectors(1).float().expand(8, -1).clone(),
        # Of each pair of positives one is opposite to the other: the worst case for softmax.
        "opposite": torch.cat([unit_vectors(4), -unit_vectors(4)]).float(),
        "orthogonal": torch.eye(8),
    }[kind].requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 5])
    value, gradient = value_and_gradient(loss(z, labels, temperature=temperature), z)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert value >= 0
    assert gradient.isfinite().all()


@EACH_LOSS
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_raw_embeddings_of_any_length_have_finite_loss_and_gradient(
    loss: Loss, length: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    z = (length * torch.randn(16, 128, generator=generator)).requires_grad_()
    y = torch.tensor([0, 1, 2, 3, 4, 5, 6, 6]).repeat(2)
    value, gradient = value_and_gradient(loss(z, y, temperature=0.01), z)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


@EACH_LOSS
def test_loss_does_not_depend_on_the_length_of_embeddings(loss: Loss) -> None:
    z, y = unit_vectors(8), torch.tensor([0, 1, 1, 2]).repeat(2)
    lengths = torch.logspace(-3, 3, 8, dtype=torch.float64)[:, None]
    stretched = loss(z * lengths, y, temperature=0.1)
    torch.testing.assert_close(stretched, loss(z, y, temperature=0.1), rtol=1e-12, atol=0)


@EACH_LOSS
def test_the_gradient_is_orthogonal_to_the_embedding(loss: Loss) -> None:
    lengths = torch.logspace(-1, 1, 8, dtype=torch.float64)[:, None]
    z, y = (unit_vectors(8) * lengths).requires_grad_(), torch.tensor([0, 1, 1, 2]).repeat(2)
    _, gradient = value_and_gradient(loss(z, y, temperature=0.1), z)
    along = (gradient * z.detach()).sum(1) / (gradient.norm(dim=1) * z.detach().norm(dim=1))
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


def test_the_gradient_by_similarity_is_softmax_minus_target() -> None:
    y = torch.tensor([0, 1, 1, 0, 2, 2, 0, 1])
    positive, n = positives(y), len(y)
    sim = (unit_vectors(n) @ unit_vectors(n).T / 0.2).requires_grad_()
    (gradient,) = torch.autograd.grad(l_out(sim, positive).mean(), sim)
    expected = torch.zeros(n, n, dtype=torch.float64)
    exp = sim.detach().exp()
    for i in range(n):
        total = sum(float(exp[i, a]) for a in range(n) if a != i)
        for j in range(n):
            if j != i:
                share = float(exp[i, j]) / total
                expected[i, j] = (share - float(positive[i, j]) / int(positive[i].sum())) / n
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-14)
    row_sums = gradient.sum(1)
    torch.testing.assert_close(row_sums, torch.zeros_like(row_sums), rtol=0, atol=1e-15)


@pytest.mark.parametrize("temperature", [0.02, 0.1, 2.0])
def test_an_anchors_loss_is_at_least_the_log_of_its_positives(temperature: float) -> None:
    # Jensen; reached where all positives share the whole softmax evenly.
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])
    positive = positives(y)
    bound = positive.sum(1).double().log()
    sim = unit_vectors(9) @ unit_vectors(9).T / temperature
    assert (l_out(sim, positive) >= bound - 1e-12).all()
    apart = F.one_hot(y, 3).double() @ F.one_hot(y, 3).double().T / 1e-3
    torch.testing.assert_close(l_out(apart, positive), bound, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("z_shape", "labels_shape"), [((4, 3, 2), (4,)), ((4, 3), (5,)), ((4, 3), (4, 1)), ((4,), (4,))]
)
@BY_LABELS
def test_shapes_that_do_not_fit_are_both_named(
    loss: Loss, z_shape: tuple[int, ...], labels_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, D\)") as error:
        loss(torch.ones(z_shape), torch.zeros(labels_shape, dtype=torch.long), temperature=0.1)
    assert f"got {z_shape} and {labels_shape}" in str(error.value)


def test_embeddings_that_are_not_whole_views_are_refused_by_simclr() -> None:
    with pytest.raises(ValueError, match=r"got \(7, 3\) and \(6,\)"):
        simclr_loss(torch.ones(7, 3), torch.zeros(7), views=2, temperature=0.1)


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


@EACH_LOSS
def test_the_gradient_is_that_of_finite_differences(loss: Loss) -> None:
    z = (unit_vectors(6, dim=3) * 2).requires_grad_()
    y = torch.tensor([0, 1, 1, 0, 2, 0])
    assert torch.autograd.gradcheck(
        lambda z: loss(z, y, temperature=0.5, base_temperature=0.1), (z,)
    )


@EACH_LOSS
def test_loss_of_bf16_embeddings_is_computed_in_fp32(loss: Loss) -> None:
    z, y = unit_vectors(16).bfloat16(), torch.arange(4).repeat(4)
    value = loss(z, y, temperature=0.1)
    assert value.dtype == torch.float32
    assert value == loss(z.float(), y, temperature=0.1)


@EACH_LOSS
def test_autocast_changes_nothing_of_loss_and_gradient(loss: Loss) -> None:
    z = (3 * unit_vectors(16, dim=64)).float().requires_grad_()
    y = torch.arange(4).repeat(4)
    outside = value_and_gradient(loss(z, y, temperature=0.1), z)
    with torch.autocast("cpu", torch.bfloat16):
        assert (z @ z.T).dtype == torch.bfloat16  # it is at work
        value = loss(z, y, temperature=0.1)
    inside = value_and_gradient(value, z)  # a backward pass inside would be in bf16
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@EACH_LOSS
def test_chunks_with_the_cached_gradient_learn_what_the_whole_batch_does(loss: Loss) -> None:
    # GradCache (arXiv:2101.06983): exact as long as no layer, such as BatchNorm, mixes images.
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    x, y = unit_vectors(12, dim=6), torch.arange(3).repeat(4)
    whole = torch.autograd.grad(loss(net(x), y, temperature=0.1), list(net.parameters()))

    with torch.no_grad():
        z = torch.cat([net(chunk) for chunk in x.split(5)])
    _, cached = value_and_gradient(loss(z.requires_grad_(), y, temperature=0.1), z)
    for chunk, gradient in zip(x.split(5), cached.split(5), strict=True):
        net(chunk).backward(gradient)
    in_chunks = tuple(p.grad for p in net.parameters())
    torch.testing.assert_close(in_chunks, whole, rtol=1e-12, atol=1e-15)


# Run as a script by each of two processes: gather the embeddings of both in the way asked for, and
# save the gradient by the own ones of (a) the loss of all anchors, (b) that of the own anchors.
RANK = """
import sys, torch, torch.distributed as dist, torch.distributed.nn.functional as gathering
import torch.nn.functional as F
from supcon.recipe.losses import l_out, supcon_loss
rank, folder, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
z, labels = torch.load(f"{folder}/batch.pt")
own = z.chunk(2)[rank].clone().requires_grad_()
if how == "with gradient":
    gathered = list(gathering.all_gather(own))
else:
    gathered = [torch.empty_like(own) for _ in range(2)]
    dist.all_gather(gathered, own.detach())
    gathered[rank] = own
all_z = torch.cat(gathered)
unit = F.normalize(all_z, dim=1)
positive = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
losses = [
    supcon_loss(all_z, labels, temperature=0.1),
    l_out(unit @ unit.T / 0.1, positive).chunk(2)[rank].mean(),
]
gradients = [torch.autograd.grad(loss, own, retain_graph=True)[0] for loss in losses]
torch.save(gradients, f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def gradients_of_two_ranks(z: Tensor, labels: Tensor, how: str, folder: Path) -> list[Tensor]:
    """Of the loss of all anchors and of the loss of the own anchors, by all embeddings."""
    torch.save((z, labels), folder / "batch.pt")
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(folder), how])
        for rank in range(2)
    ]
    assert [rank.wait(timeout=600) for rank in ranks] == [0, 0]
    by_rank = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    return [torch.cat(parts) for parts in zip(*by_rank, strict=True)]


@pytest.mark.slow
def test_embeddings_gathered_with_gradient_train_as_in_a_single_process(tmp_path: Path) -> None:
    z, y = unit_vectors(16).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2, 3, 3] * 2)
    _, single = value_and_gradient(supcon_loss(z, y, temperature=0.1), z)
    gradients = gradients_of_two_ranks(z.detach(), y, "with gradient", tmp_path)
    # The gather's backward sums over the ranks, so the gradient by a rank's own embeddings is twice
    # that of the single process; DistributedDataParallel then takes the mean over the ranks (a
    # weight's gradient is the sum of what each rank's embeddings give it, divided by 2).
    # Whether each rank has the loss of all anchors or that of its own makes no difference.
    for gradient in gradients:
        torch.testing.assert_close(gradient / 2, single, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_embeddings_gathered_without_gradient_train_for_something_else(tmp_path: Path) -> None:
    z, y = unit_vectors(16).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2, 3, 3] * 2)
    _, single = value_and_gradient(supcon_loss(z, y, temperature=0.1), z)
    all_anchors, own_anchors = gradients_of_two_ranks(z.detach(), y, "without", tmp_path)
    # With the loss of all anchors on each rank only the factor of 2 is missing.
    torch.testing.assert_close(all_anchors, single, rtol=1e-9, atol=1e-12)
    # With the loss of its own anchors, as is usual, a rank never hears how its embeddings serve the
    # other's anchors: no factor puts that right.
    best_factor = (own_anchors * single).sum() / own_anchors.square().sum()
    assert (best_factor * own_anchors - single).norm() > 0.1 * single.norm()


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


def test_adjusted_logits_are_those_of_the_paper() -> None:
    """Menon et al. 2021, eq. 10, as it stands."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 3, generator=generator), torch.tensor([0, 0, 1, 1, 2, 2])
    prior, tau = torch.tensor([0.7, 0.2, 0.1]), 1.5
    slow = 0.0
    for f, y in zip(logits.tolist(), labels.tolist(), strict=True):
        terms = [math.exp(f[k] + tau * math.log(prior[k])) for k in range(3)]
        slow -= math.log(terms[y] / sum(terms)) / 6
    found = cross_entropy(logits, labels, adjustment=tau * prior.log())
    assert found.item() == pytest.approx(slow, rel=1e-5)


def test_adjusted_logits_find_the_rare_class_that_plain_cross_entropy_gives_up() -> None:
    """Two overlapping clouds, 1 image of 20 in the second: a linear model at its optimum."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.arange(2000) % 20 == 0).long()
    x = F.pad(torch.randn(2000, 2, generator=generator) + y[:, None], (0, 1), value=1)
    recall = {}
    for tau in (0.0, 1.0):
        weight = torch.zeros(2, 3, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=50)
        adjustment = tau * (y.bincount() / len(y)).log()

        def closure(w: Tensor = weight, by: Tensor = adjustment) -> Tensor:
            w.grad = None
            loss = cross_entropy(x @ w.T, y, adjustment=by)
            loss.backward()
            return loss

        optimizer.step(closure)
        right = (x @ weight.T).argmax(1) == y
        recall[tau] = [right[y == k].double().mean().item() for k in (0, 1)]
    assert recall[0.0][1] < 0.2
    assert min(recall[1.0]) > 0.65  # balanced: the clouds' midpoint errs on 24 % of either
