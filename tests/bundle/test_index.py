"""Neighbours by an index, against those that are found by comparing with all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.bundle import index
from supcon.bundle.gallery import Gallery
from supcon.bundle.index import IndexSearch, built, search_of
from supcon.bundle.manifest import fingerprint
from supcon.bundle.nearest import ExactSearch, Search
from supcon.bundle.upkeep import remove_images
from supcon.evaluation.knn import TIE
from tests.bundled import Used, gallery_of

CPU = torch.device("cpu")


def clustered(n: int, seed: int, dim: int = 16) -> Tensor:
    """(n, dim) about 40 centres, of any length."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(40, dim, generator=torch.Generator().manual_seed(0))
    x = centres[torch.randint(0, 40, (n,), generator=generator)]
    x = x + 0.5 * torch.randn(n, dim, generator=generator)
    return x * (0.5 + torch.rand(n, 1, generator=generator))


def recall(found: Tensor, exact: Tensor) -> float:
    """Share of (M, k) cosines that are as large as the k-th of the exact ones."""
    return (found >= exact[:, -1:] - TIE).float().mean().item()


@pytest.mark.parametrize("k", [1, 7, 300])
def test_neighbours_in_all_lists_are_the_exact_ones(k: int) -> None:
    gallery, queries = gallery_of(clustered(300, 1)), clustered(20, 2)
    found = built(gallery, 300)
    found.nprobe = found.nlist
    near, exact = (
        IndexSearch(gallery, lambda: found, 300)(queries, k),
        ExactSearch(gallery, CPU)(queries, k),
    )
    assert torch.allclose(near.cosines, exact.cosines, atol=1e-6)
    assert (near.places == exact.places).float().mean() > 0.99  # rounding may swap two


@pytest.mark.parametrize("half", [False, True])
def test_a_small_part_of_a_clustered_gallery_holds_nearly_all_neighbours(half: bool) -> None:
    gallery, queries = gallery_of(clustered(8000, 1)), clustered(500, 2)
    gallery = gallery.in_half() if half else gallery
    found = built(gallery, 20)
    search, exact = IndexSearch(gallery, lambda: found, 20), ExactSearch(gallery, CPU)
    assert found.nprobe <= found.nlist / 4
    assert recall(search(queries, 20).cosines, exact(queries, 20).cosines) > 0.985
    assert recall(search(queries, 10).cosines, exact(queries, 10).cosines) > 0.99
    found.nprobe = 1  # the measured number is needed
    assert recall(search(queries, 20).cosines, exact(queries, 20).cosines) < 0.98


def test_cosines_fall_and_belong_to_their_places() -> None:
    bank, queries = clustered(2000, 1), clustered(30, 2)
    gallery = gallery_of(bank)
    near = IndexSearch(gallery, lambda: built(gallery, 9), 9)(queries, 9)
    assert (near.cosines.diff(dim=1) <= 0).all()
    for query, cosines, places in zip(queries, *near, strict=True):
        assert torch.allclose(torch.cosine_similarity(query, bank[places]), cosines, atol=1e-5)
        assert len(set(places.tolist())) == 9


def test_equals_are_all_found_however_many_there_are() -> None:
    bank = clustered(400, 1)
    bank[100:200] = bank[0] * torch.linspace(0.1, 9, 100)[:, None]
    gallery = gallery_of(bank)
    near = IndexSearch(gallery, lambda: built(gallery, 101), 101)(bank[:1], 101)
    assert set(near.places[0].tolist()) == {0, *range(100, 200)}
    assert near.without(torch.tensor([0])).cosines.tolist()[0] == pytest.approx([1] * 100)


def test_what_few_lists_cannot_give_is_looked_for_exactly() -> None:
    gallery, queries = gallery_of(clustered(300, 1)), clustered(20, 2)
    found, exact = built(gallery, 200), ExactSearch(gallery, CPU)
    found.nprobe = 1  # no list holds 200
    near = IndexSearch(gallery, lambda: found, 200)(queries, 200)
    assert torch.allclose(near.cosines, exact(queries, 200).cosines, atol=1e-6)
    more = IndexSearch(gallery, lambda: found, 5)(queries, 6)  # recall was measured for 5
    assert torch.allclose(more.cosines, exact(queries, 6).cosines, atol=1e-6)


def test_no_query_has_no_neighbours() -> None:
    gallery = gallery_of(clustered(300, 1))
    near = IndexSearch(gallery, lambda: built(gallery, 5), 5)(torch.empty(0, 16), 5)
    assert near.cosines.shape == near.places.shape == (0, 5)


def test_embeddings_that_are_equal_or_no_numbers_do_not_stop_the_building() -> None:
    bank = torch.ones(300, 4)
    bank[7] = torch.nan
    gallery = gallery_of(bank)
    near = IndexSearch(gallery, lambda: built(gallery, 3), 3)(torch.ones(1, 4), 3)
    assert near.cosines.tolist()[0] == pytest.approx([1, 1, 1])
    assert 7 not in near.places


def searched(monkeypatch: pytest.MonkeyPatch, n: int, device: torch.device = CPU) -> Search:
    monkeypatch.setattr(index, "INDEXED_FROM", 200)
    return search_of(gallery_of(clustered(n, 1)), device, k=5, sha256=str(n))


def test_small_galleries_are_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(searched(monkeypatch, 199), ExactSearch)
    assert isinstance(searched(monkeypatch, 200), IndexSearch)


def test_on_a_gpu_and_without_faiss_the_search_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(searched(monkeypatch, 200, torch.device("meta")), ExactSearch)
    monkeypatch.setattr(index, "find_spec", lambda _: None)
    assert isinstance(searched(monkeypatch, 200), ExactSearch)


def test_an_index_is_built_once_for_a_gallery_and_a_number_of_neighbours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(index, "INDEXED_FROM", 200)
    sizes = list[tuple[int, int]]()

    def counted(gallery: Gallery, k: int) -> object:
        sizes.append((len(gallery), k))
        return built(gallery, k)

    monkeypatch.setattr(index, "built", counted)
    for n, k in ((300, 5), (300, 5), (301, 5), (300, 6), (301, 5)):
        gallery = gallery_of(clustered(n, 1))
        near = search_of(gallery, CPU, k=k, sha256=str(n))(clustered(9, 2), k)
        assert recall(near.cosines, ExactSearch(gallery, CPU)(clustered(9, 2), k).cosines) > 0.9
    assert sizes == [(300, 5), (301, 5), (300, 6)]


def test_a_bundle_answers_by_an_index_as_without_and_a_change_leaves_one_for_it(
    own: Used, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = sorted((Path(own.config.data.root) / "test").rglob("*.png"))
    exact = own.load().predict(images, by="knn")
    monkeypatch.setattr(index, "INDEXED_FROM", 10)
    model = own.load()
    model.embed(images[0])
    assert not (tmp_path / "cache").exists()  # built when it is needed
    found = model.predict(images, by="knn")
    assert np.mean(found.ids == exact.ids) > 0.99
    assert np.mean(found.is_unknown == exact.is_unknown) > 0.99
    assert isinstance(model.search, IndexSearch)
    _, manifest = remove_images(own.folder, ["0"], [])
    kept = sorted((tmp_path / "cache").rglob("*.faiss"))
    assert len(kept) == 2
    assert manifest.files[manifest.gallery] == fingerprint(own.folder / manifest.gallery)
    assert "0" not in own.load().predict(images, by="knn").names
    assert sorted((tmp_path / "cache").rglob("*.faiss")) == kept
