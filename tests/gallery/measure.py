"""What the look for crops and shifts finds of copies that were planted, and names of other images.

    python -m tests.gallery.measure ~/data/cifar10-jpeg       # three minutes on a CPU core

Two networks are trained on 5,000 images, by SupCon and by CE. Copies of training images, changed in
one way each, are compared with train as `search/gallery/lookalikes.py` compares test, and so are
2,000 images of val and of test each. The figures are in results/audit.md. With `--digits` instead
of the folder: the same on scikit-learn's digits, 15 epochs each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from search.gallery.lookalikes import NEIGHBOURS, unusual
from supcon.audit.audit import Part, audit
from supcon.audit.overlap import greys, overlap
from supcon.config import Config, override
from supcon.evaluation.knn import nearest
from supcon.evaluation.trained import embed_with
from supcon.images.decoding import Pixels
from supcon.images.loading import load_splits, load_test
from supcon.train import fit

EACH = 40  # copies
SHARED = {
    "model.backbone": "test_resnet",
    "model.stem": "full",
    "run.threads": 1,
    "run.device": "cpu",
    "run.precision": "fp32",
    "augment.strength": 0.5,
}
DIGITS = {"data.batch_size": 64, "data.val_size": 0.2, "run.epochs": 15}
CIFAR = {
    "data.name": "folder",
    "data.image_size": 32,
    "data.train_size": 5000,
    "data.val_size": 2000,
    "data.batch_size": 128,
    "optim.lr_per_256": 0.3,
    "run.epochs": 12,
}


def shifted(picture: Pixels) -> Pixels:
    side = len(picture)
    by = side // 8
    padded = np.pad(picture, ((by, by), (by, by), (0, 0)), mode="reflect")
    return padded[2 * by : 2 * by + side, :side]


def with_pillow(change: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
    def changed(picture: Pixels) -> Pixels:
        image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
        return np.asarray(change(image)).reshape(picture.shape)

    return changed


def cropped(image: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Eighths of the side, taken off."""
    side = image.width
    by = side // 8
    box = (left * by, top * by, side - right * by, side - bottom * by)
    return image.crop(box).resize((side, side), Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "shifted by an eighth": shifted,
    "7/8 from a corner": with_pillow(lambda image: cropped(image, 1, 0, 0, 1)),
    "middle 3/4": with_pillow(lambda image: cropped(image, 1, 1, 1, 1)),
    "fainter": lambda picture: (picture * 0.6 + 50).astype(np.uint8),
    "turned by 10 degrees": with_pillow(lambda image: image.rotate(10, Image.Resampling.BICUBIC)),
    "shifted and mirrored": lambda picture: shifted(picture[:, ::-1]),
    "grey": with_pillow(lambda image: image.convert("L").convert(image.mode)),
    "red and blue exchanged": lambda picture: picture[..., ::-1],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--digits", action="store_true")
    options = parser.parse_args()
    own = DIGITS if options.digits else CIFAR | {"data.root": options.folder}
    config = override(Config(), SHARED | own)
    data, test, rng = load_splits(config.data), load_test(config.data), np.random.default_rng(0)
    test = test.take(np.sort(rng.choice(len(test), min(2000, len(test)), replace=False)))
    changes = dict(list(CHANGES.items())[: 6 if options.digits else None])  # digits have no colours
    sources = rng.choice(len(data.train), EACH * len(changes), replace=False)
    of_change = np.repeat(list(changes), EACH)
    train = data.train.images[:]
    copies = np.stack([changes[c](train[i]) for c, i in zip(of_change, sources, strict=True)])
    sets = {"val": data.val.images[:], "test": test.images[:], "copies": copies}
    parts = [Part("train", train, data.train.labels)]
    parts += [Part(name, each, np.zeros(len(each), np.int64)) for name, each in sets.items()]
    has_twin = audit(parts, 0).has_twin
    places: dict[str, list[torch.Tensor]] = {name: [] for name in sets}
    for loss in ("supcon", "ce"):
        chosen = override(config, {"loss.name": loss})
        *_, last = fit(chosen, data)
        assert last.trained is not None
        print(f"{loss}: probe {last.metrics['val/probe_top1']:.3f} on val")
        bank = embed_with(last.trained, chosen, train).features
        for name, each in sets.items():
            features = embed_with(last.trained, chosen, each).features
            places[name].append(nearest(bank, features, NEIGHBOURS))
    ground, best, which = greys(train), {}, {}
    for name, each in sets.items():
        found = torch.cat(places[name], dim=1)
        blocks = range(0, len(each), 64)
        fit_of = [overlap(greys(each[i : i + 64]), ground[found[i : i + 64]]) for i in blocks]
        highest, at = torch.cat(fit_of).max(dim=1)
        best[name], which[name] = highest.double().numpy(), found.gather(1, at[:, None])[:, 0]
    least = unusual(best["val"], 1 / len(test))
    print(f"least correlation {least:.3f}")
    for name in ("val", "test"):
        is_new = (best[name] > least) & ~has_twin[name, "train"]
        print(f"{name}: {int(is_new.sum())} of {len(is_new)}, not named by the hashes")
    is_named = best["copies"] > least
    is_right = is_named & (which["copies"].numpy() == sources)
    is_candidate = (torch.cat(places["copies"], 1).numpy() == sources[:, None]).any(1)
    firsts = [each[:, 0].numpy() == sources for each in places["copies"]]
    print(f"{int((is_named & ~is_right).sum())} copies are taken for one of another image")
    for change in changes:
        its = of_change == change
        hashed = int(has_twin["copies", "train"][its].sum())
        nearest_in = [int(each[its].sum()) for each in firsts]
        named, known = int(is_right[its].sum()), int(is_candidate[its].sum())
        print(
            f"{change:24s} hashes {hashed:2d}, nearest {nearest_in}, candidates {known:2d}, "
            f"named {named:2d}"
        )


if __name__ == "__main__":
    main()
