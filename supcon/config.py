"""The training config: one frozen, validated, complete model of everything a run depends on.

A config is read from YAML, changed only by dotted keys (`optim.lr_per_256=0.2`), and dumped
complete, defaults written out. Nothing here imports torch: a typo costs a second, not a start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from supcon.parsing import Section, UserError, check_key, parse, read_yaml
from supcon.plain_yaml import write

TOP1 = "val/probe_top1"
"""Accuracy on val of the linear probe, cross-fitted; every evaluated record has it."""
METRICS = {"top1": TOP1, "balanced": "val/probe_balanced"}
"""What decides between epochs, weights, trials and arms, by `probe.selection`."""


def renamed(settings: Mapping[str, Any], section: str = "model.") -> dict[str, Any]:
    """The same by their names of today: `pretrained`, true or false, has become `weights`.

    Args:
        settings: name -> value, or what is drawn for it.
        section: what stands before the name.
    """
    old, new = f"{section}pretrained", f"{section}weights"
    if old not in settings:
        return dict(settings)
    if new in settings:
        raise ValueError(f"{old} is an earlier name of {new}: give {new} alone")
    return {
        new if k == old else k: _weights(v, old) if k == old else v for k, v in settings.items()
    }


def _weights(value: Any, name: str) -> Any:
    if isinstance(value, dict) and isinstance(value.get("choice"), list):
        return {**value, "choice": [_weights(each, name) for each in value["choice"]]}
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return "timm" if value else "none"


class DataConfig(Section):
    """Which images, and how they are split and batched."""

    name: Literal["digits", "cifar10", "cifar100", "folder", "table", "huggingface"] = "digits"
    """digits is bundled with scikit-learn; cifar* are downloaded on first use; the others are your
    own. folder: train/<class>/*, test/<class>/* and perhaps val/<class>/*, or <class>/* alone.
    table: a CSV or parquet file with a row for each image. huggingface: what `save_to_disk` of
    Hugging Face's datasets (an extra) wrote."""
    root: Path = Path("~/data")
    """Where cifar* lie or are downloaded to; for `folder`, what holds train/ and test/, or the
    folders of the classes; for `table`, the file; for `huggingface`, the folder."""
    path_column: str = "path"
    """table: column of the images' paths, which start at the table's folder. huggingface: that of
    the images, if there are several."""
    label_column: str = "label"
    """table: column of the classes. huggingface: that of type ClassLabel, if there are several."""
    split_column: str | None = "split"
    """table: column that says train, val or test. Without it, or if it is null, a split is made."""
    group_column: str | None = "group"
    """table, huggingface: column of what several images are of, such as a patient or a camera: no
    group is on two sides of a split. Without it, or if it is null, each image is by itself."""
    image_size: int | None = Field(None, ge=8, le=4096)
    """Side of the square images in pixels; null keeps the data set's own (digits: 16, cifar*: 32).
    Must be given for your own images."""
    fit: Literal["crop", "squeeze", "pad"] = "crop"
    """How your own pictures that are not square become square: crop keeps the centre, squeeze all
    of it out of shape, pad all of it with bars of `background`."""
    background: str = Field("white", pattern="^(white|black|#[0-9a-fA-F]{6})$")
    """What your own transparent pictures are laid on: white, black or "#rrggbb"."""
    test_size: float = Field(0.2, gt=0)
    """Test images split off images of your own that come without a split, stratified: a fraction
    below 1, or else a count."""
    val_size: float = Field(0.1, gt=0)
    """Validation images taken from train, stratified: a fraction below 1, or else a count."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the splits that are made, the same for all trials of a search."""
    broken: Literal["refuse", "skip"] = "refuse"
    """Files that are no readable images: refuse names them; skip leaves them out, and says so."""
    train_size: int | None = Field(None, ge=1)
    """Use only so many training images (stratified, after val is taken); null uses all."""
    hold_out: int = Field(0, ge=0)
    """So many classes, drawn by `split_seed`, train, validate and test nothing: their test images
    are asked as images of unknown classes, the others of them are not used. At least 2 stay."""
    unknown: Path | None = None
    """A folder with images of other classes than those of the data set, at any depth: asked, like
    test images, once and at the end, whether a model tells them from known ones. For digits they
    are turned grey."""
    sampler: Literal["natural", "balanced"] = "natural"
    """natural: each image once an epoch. balanced: each class equally often, in an epoch of the
    same length: images of rare classes come several times, some of frequent ones not."""
    batch_size: int = Field(256, ge=2)
    """Images a step. Each comes in `augment.views` views."""
    pipeline: Literal["auto", "resident", "streaming"] = "auto"
    """resident: images lie decoded in memory (a GPU's, where they fit), and the training device
    augments a batch at once. streaming: views are made one by one on the CPU, a folder's from its
    files. auto: streaming for a folder whose decoded images take a quarter of the free memory."""
    workers: int | None = Field(None, ge=0, le=1024)
    """streaming: processes that make views; 0: the training process does; null: one for each CPU
    thread of the run for images in files, else 0."""

    @property
    def is_own(self) -> bool:
        """Whether the images are somebody's own, in files."""
        return self.name in ("folder", "table", "huggingface")


class AugmentConfig(Section):
    """The augmentation policy. `strength` scales all of it; null takes the data set's default."""

    policy: Literal["crop_jitter", "randaugment", "trivialaugment"] = "crop_jitter"
    """crop_jitter: all settings below. randaugment (arXiv:1909.13719), trivialaugment (its Wide,
    arXiv:2103.10158): two operations or one for each view, as torchvision has them at strength 1,
    in place of rotation, jitter and grey. Strength scales their magnitudes; solarize, autocontrast
    and equalize, of which there is no small amount, happen that often instead."""
    strength: float = Field(1.0, ge=0, le=1)
    """0 leaves images as they are, 1 is the full policy below."""
    views: int = Field(2, ge=1, le=8)
    """Views of an image in a step, for both losses, so that a step of either costs the same."""
    crop: float | None = Field(None, gt=0, le=1)
    """Smallest area of a crop at strength 1, as a fraction of the image."""
    flip: float | None = Field(None, ge=0, le=1)
    """Probability of a horizontal flip at strength 1."""
    rotation: float | None = Field(None, ge=0, le=180)
    """Largest rotation in degrees at strength 1."""
    jitter: float | None = Field(None, ge=0, le=1)
    """Brightness, contrast and saturation jitter at strength 1 (hue: a quarter of it)."""
    grey: float | None = Field(None, ge=0, le=1)
    """Probability of dropping colour at strength 1."""
    blur: float | None = Field(None, ge=0, le=1)
    """Probability of a Gaussian blur (sigma 0.1 to 2 pixels) at strength 1; off by default."""
    cutout: float | None = Field(None, ge=0, lt=1)
    """Side of a black square at strength 1, as a fraction of the image; off by default."""
    mixup: float = Field(0.0, ge=0, le=100)
    """Alpha of MixUp (arXiv:1710.09412): a view becomes lam of itself and 1 - lam of another one of
    its batch, its label likewise, lam from Beta(alpha, alpha); 0: off. Not scaled by strength, and
    not in images that are scored."""
    cutmix: float = Field(0.0, ge=0, le=100)
    """Alpha of CutMix (arXiv:1905.04899): a box of 1 - lam of a view's area comes from another
    one; 0: off. With both on, each view is mixed in one of the two ways, by chance."""
    mix_probability: float = Field(1.0, gt=0, le=1)
    """Share of the views that are mixed with others."""

    @property
    def is_mixed(self) -> bool:
        """Whether views are mixed with each other, so that labels are soft."""
        return self.mixup > 0 or self.cutmix > 0


class ModelConfig(Section):
    """Encoder and projection head."""

    backbone: str = "resnet18"
    """Any image model of timm (`timm.list_models()`)."""
    weights: str = "none"
    """What the backbone starts from. none: freshly drawn; timm: the weights that timm publishes for
    it; a file: safetensors, or a state dict that torch saved, of timm's names or of `train`;
    local-dir:DIR or hf-hub:NAME: what timm saved there. Images are normalised as for them."""
    weights_hash: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the file of the weights: another one is refused. A search and `train` write it
    down; null: whatever is there."""
    stem: Literal["auto", "small", "full"] = "auto"
    """small removes the stem's downsampling, as usual for CIFAR; auto: small up to 64 pixels."""
    head: Literal["mlp", "linear"] = "mlp"
    """SupCon's projection head; stage two drops it."""
    head_dim: int = Field(128, ge=2, le=65536)
    """Dimension of the projection that the SupCon loss sees."""

    @model_validator(mode="before")
    @classmethod
    def _from_pretrained(cls, value: Any) -> Any:
        """Earlier versions had timm's weights or none, by `pretrained`."""
        return renamed(value, "") if isinstance(value, dict) else value

    @property
    def weights_name(self) -> str:
        """What tells its weights from others: timm has other ones for each backbone."""
        return f"timm:{self.backbone}" if self.weights == "timm" else self.weights


class LossConfig(Section):
    """The objective of stage one."""

    name: Literal["supcon", "sincere", "simclr", "ce", "supcon_ce"] = "supcon"
    """supcon: supervised contrastive (L_out); sincere: without repulsion inside a class; simclr:
    without labels; ce: cross entropy on the same views; supcon_ce: both at once, on a projection
    head and a classifier of one encoder."""
    ce_weight: float = Field(0.5, gt=0, lt=1)
    """supcon_ce: the loss is ce_weight times cross entropy and 1 - ce_weight times supcon, which
    keeps the size of the gradient."""
    temperature: float = Field(0.1, gt=0)
    """Softmax temperature of the contrastive losses; the paper uses 0.1."""
    base_temperature: float = Field(0.1, gt=0)
    """The loss is multiplied by temperature / base_temperature: without it the gradient scales with
    1 / temperature, and a search over temperature would search the learning rate too."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Cross entropy only: weight of the uniform target."""
    logit_adjustment: float = Field(0.0, ge=0, le=100)
    """Cross entropy only: tau of arXiv:2007.07314; in the loss, tau times the log of its class's
    share of the training images is added to each logit; 1 aims at balanced accuracy, 0 is off."""

    @property
    def is_contrastive(self) -> bool:
        """Whether the loss compares views with each other, after a projection head."""
        return self.name != "ce"

    @property
    def has_classifier(self) -> bool:
        """Whether stage one trains a linear classifier, whose logits are scored as `head`."""
        return self.name in ("ce", "supcon_ce")


class OptimConfig(Section):
    """Optimiser and learning-rate schedule."""

    name: str = "sgd"
    """Any of timm (`timm.optim.list_optimizers()`: sgd with Nesterov momentum, adamw, lars, lamb,
    radam, ...), `lookahead_` before it if wanted, or of torch-optimizer (ranger, ...; an extra)."""
    lr_per_256: float = Field(0.2, gt=0, le=1000)
    """Peak learning rate at batch size 256."""
    lr_scaling: Literal["linear", "sqrt"] = "linear"
    """How the learning rate scales with data.batch_size / 256."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Only where the optimiser has one."""
    weight_decay: float = Field(1e-4, ge=0)
    """Not applied to norms and biases."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """The backbone's last layer and the heads have the learning rate, each layer below so many
    times that of the one above (arXiv:2106.08254); layers as timm groups them. 1: all the same."""
    freeze_epochs: int = Field(0, ge=0)
    """So many epochs at first the heads alone are trained, while the encoder stays as it is."""
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"
    """After the warm-up: half a cosine to 0; constant; or constant and a linear fall to 0."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Fraction of the run in which the learning rate rises."""
    decay: float = Field(0.2, gt=0, le=1)
    """wsd only: fraction of the run in which the learning rate falls."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient of all parameters together; null: not clipped."""


class AverageConfig(Section):
    """Weight averaging. Raw, EMA and SWA weights are scored on val at the end; the best stay."""

    ema_half_life: float = Field(0.5, ge=0)
    """Epochs after which a weight's share in the EMA has halved; 0 switches EMA off."""
    swa_start: float = Field(0.75, ge=0, le=1)
    """SWA averages the epochs after this fraction of the run; 1 switches SWA off."""
    bn_images: int = Field(2048, ge=2)
    """Training images on which BatchNorm of evaluated weights is re-estimated."""


class ProbeConfig(Section):
    """Evaluation on frozen encoder features: linear probe (stage two) and kNN."""

    selection: Literal["top1", "balanced"] = "top1"
    """What decides between epochs, weights and the probe's candidates, and in a search between
    trials and arms (there `selection` sets it): accuracy, or its mean over the classes."""
    method: Literal["lbfgs", "sgd"] = "lbfgs"
    """lbfgs: logistic regression at its optimum, the penalty cross-fitted on val; sgd: some epochs
    of SGD as in the published recipes, with raw, EMA and SWA weights cross-fitted on val."""
    views: int = Field(0, ge=0, le=100)
    """Train the probe on so many augmented views of each image; 0: on the image itself."""
    l2: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    """L2 penalties tried by lbfgs, 1 to 7 values > 0; the same for both losses."""
    max_iter: int = Field(100, ge=1)
    """L-BFGS iterations for each penalty, two matrix products with the features each."""
    epochs: int = Field(100, ge=1)
    """sgd: passes over the cached features."""
    batch_size: int = Field(256, ge=2)
    """sgd: features a step."""
    lr: float | None = Field(None, gt=0)
    """sgd: peak learning rate of its cosine; null: found by a range test on training features."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """sgd: weight of the uniform target."""
    knn_k: int = Field(20, ge=1)
    """Neighbours that vote in kNN."""
    knn_temperature: float = Field(0.07, gt=0)
    """A neighbour votes with weight exp(cosine / knn_temperature)."""


class RunConfig(Section):
    """Length, seed, device and bookkeeping of a run."""

    epochs: int = Field(100, ge=0, le=10**6)
    """Epochs of stage one; 0: the encoder is scored as it starts, by probe and kNN alone."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of initial weights, data order and augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast of encoder and head (the loss is always fp32). auto: bf16 on a GPU that has it; on a
    CPU a search and `train` time both and write the faster one into the config."""
    tf32: bool = True
    """On a GPU, let convolutions in fp32 round to TF32 (10 bits of mantissa), as torch does unless
    told otherwise. Matrix products, and so losses, kNN and probe, never do."""
    cuda_graph: bool = False
    """On a GPU, record the network's passes once and replay them, for batches so small that Python
    cannot launch their kernels as fast as they run. Not measured on a GPU yet."""
    compile: bool = False
    """Compile the training network and the augmentation of resident images with torch.compile, for
    long runs on a GPU: resnet18's first step takes up to a minute, or 2 s where it was compiled
    before; a CPU gains nothing."""
    memory: Literal["auto", "plain", "checkpoint", "cached"] = "auto"
    """How a step gets by with the memory there is. checkpoint: blocks of the backbone make their
    activations again in the backward pass, where timm offers that; cached: each micro-batch does
    (GradCache, arXiv:2101.06983; the exact gradient, but BatchNorm sees micro-batches). Either
    takes a third longer. auto: plain where that fits, else checkpoint, else cached; a search and
    `train` write down what it was, and training by itself takes it as plain."""
    micro_batch: int = Field(256, ge=4)
    """cached: views of a micro-batch at most, each view of an image counted."""
    threads: int = Field(0, ge=0, le=1024)
    """CPU threads of torch; 0: its choice, within the quota of a container. Scores
    repeat exactly only at equal threads."""
    eval_every: int = Field(0, ge=0)
    """Evaluate every so many epochs; 0: only at `eval_at` and at the end."""
    eval_at: tuple[int, ...] = ()
    """Further epochs at which to evaluate; a search puts its rungs here."""
    checkpoint_minutes: float = Field(2.0, ge=0)
    """Minutes between checkpoints, at the end of an epoch; 0: after each. The first epoch and
    evaluated ones always have one."""

    @model_validator(mode="before")
    @classmethod
    def _without_epochs_between_checkpoints(cls, value: Any) -> Any:
        """Earlier versions counted them; their logs and configs are read nevertheless."""
        if isinstance(value, dict):
            return {key: each for key, each in value.items() if key != "checkpoint_every"}
        return value

    @property
    def recomputes(self) -> bool:
        """Whether the backward pass runs parts of the network again."""
        return self.memory in ("checkpoint", "cached")


class Config(Section):
    """Everything that one training run depends on."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    average: AverageConfig = AverageConfig()
    probe: ProbeConfig = ProbeConfig()
    run: RunConfig = RunConfig()

    @property
    def selection_metric(self) -> str:
        """Name of what decides between epochs, weights, trials and arms."""
        return METRICS[self.probe.selection]

    @property
    def has_projection(self) -> bool:
        """Whether a run leaves a projection head that was trained."""
        return self.loss.is_contrastive and self.run.epochs > 0

    @property
    def has_classifier(self) -> bool:
        """Whether a run leaves a classifier, beside the probe, that was trained."""
        return self.loss.has_classifier and self.run.epochs > 0

    @model_validator(mode="after")
    def _check_across_sections(self) -> Config:
        if self.data.is_own and self.data.image_size is None:
            raise ValueError(
                f"data.image_size must be given for data.name {self.data.name} (try 32 or 64)"
            )
        for key, size in (("val_size", self.data.val_size), ("test_size", self.data.test_size)):
            if size >= 1 and size != int(size):
                raise ValueError(
                    f"data.{key} must be a fraction below 1 or a whole number of images, got {size}"
                )
        if not 1 <= len(self.probe.l2) <= 7 or any(l2 <= 0 for l2 in self.probe.l2):
            raise ValueError(f"probe.l2 must hold 1 to 7 values > 0, got {list(self.probe.l2)}")
        if late := [epoch for epoch in self.run.eval_at if not 1 <= epoch <= self.run.epochs]:
            raise ValueError(f"run.eval_at must lie in 1 to {self.run.epochs}, got {late[0]}")
        if self.loss.is_contrastive and self.augment.views < 2:
            raise ValueError(
                f"augment.views must be at least 2 for loss.name {self.loss.name}, "
                f"got {self.augment.views}"
            )
        if self.augment.is_mixed and self.loss.name in ("sincere", "simclr"):
            raise ValueError(
                f"augment.mixup and augment.cutmix must be 0 for loss.name {self.loss.name}, which "
                f"has no form for soft labels (supcon, supcon_ce and ce have), got "
                f"{self.augment.mixup:g} and {self.augment.cutmix:g}"
            )
        if self.optim.freeze_epochs > self.run.epochs:
            raise ValueError(
                f"optim.freeze_epochs must be at most run.epochs ({self.run.epochs}), got "
                f"{self.optim.freeze_epochs}"
            )
        if self.run.cuda_graph and self.optim.freeze_epochs:
            raise ValueError(
                f"run.cuda_graph records one kind of step, and optim.freeze_epochs makes two, got "
                f"{self.optim.freeze_epochs}; set either to false or 0"
            )
        if self.run.cuda_graph and (self.run.compile or self.run.recomputes):
            raise ValueError(
                f"run.cuda_graph goes with neither run.compile nor run.memory checkpoint or "
                f"cached, got compile {self.run.compile} and memory {self.run.memory}; set it to "
                f"false"
            )
        if self.optim.schedule == "wsd" and self.optim.warmup + self.optim.decay > 1:
            raise ValueError(
                f"optim.warmup + optim.decay must be at most 1, "
                f"got {self.optim.warmup} + {self.optim.decay}"
            )
        return self


TEXT_KEYS = frozenset(
    f"{section}.{key}"
    for section, part in Config.model_fields.items()
    for key, field in getattr(part.annotation, "model_fields", {}).items()
    if field.annotation in (str, Path)
)
"""Settings whose value is any text: a path, a name."""

_OF_CE = ("loss.label_smoothing", "loss.logit_adjustment", "loss.ce_weight")
_OF_CONTRAST = ("loss.temperature", "loss.base_temperature", "model.head", "model.head_dim")
_OF_JITTER = ("augment.rotation", "augment.jitter", "augment.grey")
UNUSED_KEYS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({"loss.name": "ce"}, (*_OF_CONTRAST, "loss.ce_weight")),
    ({"loss.name": "supcon"}, _OF_CE),
    ({"loss.name": "sincere"}, _OF_CE),
    ({"loss.name": "simclr"}, _OF_CE),
    ({"augment.policy": "randaugment"}, _OF_JITTER),
    ({"augment.policy": "trivialaugment"}, _OF_JITTER),
    ({"augment.mixup": 0, "augment.cutmix": 0}, ("augment.mix_probability",)),
    ({"data.sampler": "balanced"}, ("loss.logit_adjustment",)),
    ({"data.pipeline": "resident"}, ("data.workers",)),
    ({"optim.schedule": "cosine"}, ("optim.decay",)),
    ({"optim.schedule": "constant"}, ("optim.decay",)),
    ({"run.memory": "plain"}, ("run.micro_batch",)),
    ({"run.memory": "checkpoint"}, ("run.micro_batch",)),
    (
        {"probe.method": "lbfgs"},
        ("probe.epochs", "probe.batch_size", "probe.lr", "probe.label_smoothing"),
    ),
    ({"probe.method": "sgd"}, ("probe.l2", "probe.max_iter")),
)
"""Keys without effect, each behind the settings that make them so together."""
SWITCHES = frozenset(key for where, _ in UNUSED_KEYS for key in where)
"""Settings by which others have an effect or none."""


def is_used(key: str, config: Config) -> bool:
    """Whether the dotted `key` has any effect under `config`."""
    flat = flatten(config)
    return not any(
        key in unused and all(flat[switch] == value for switch, value in where.items())
        for where, unused in UNUSED_KEYS
    )


def flatten(config: Config) -> dict[str, Any]:
    """All settings by dotted key, as plain YAML values."""
    return {
        f"{section}.{key}": value
        for section, values in config.model_dump(mode="json").items()
        for key, value in values.items()
    }


def override(config: Config, changes: Mapping[str, Any], source: str = "override") -> Config:
    """A copy of `config` with some dotted keys changed, validated as a whole.

    Args:
        config: where to start from.
        changes: dotted key -> new value, for example `{"loss.temperature": 0.2}`.
        source: what the changes came from; opens the message of an error.

    Raises:
        UserError: a key does not exist, or the changed config breaks a rule.
    """
    tree = config.model_dump(mode="json")
    try:
        changes = renamed(changes)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    for dotted, value in changes.items():
        check_key(dotted, flatten(config), source)
        section, key = dotted.split(".")
        tree[section][key] = value
    return parse(Config, tree, source)


def as_setting(key: str, value: Any, source: str) -> Any:
    """A value as the config holds it, by the rules of its setting alone.

    Args:
        key: dotted key of a setting that there is.
        value: what was given, for example 1 where the setting is a float.
        source: what it came from; opens the message of an error.

    Raises:
        UserError: the setting cannot have that value.
    """
    section, name = key.split(".")
    model = type(getattr(Config(), section))
    try:
        return parse(model, {name: value}, section).model_dump(mode="json")[name]
    except UserError as error:
        raise UserError(f"{source}: {str(error).replace(': ', '.', 1)}") from None


def load_config(path: Path) -> Config:
    """Read a training config from YAML.

    Raises:
        UserError: the file cannot be read, or breaks a rule; all that is wrong, a line each.
    """
    return parse(Config, read_yaml(path), str(path))


def dump_config(config: Config) -> str:
    """The complete config as YAML, defaults written out; `load_config` reads it back unchanged."""
    return write(config.model_dump(mode="json"))
