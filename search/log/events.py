"""What can happen in a study: the lines of events.jsonl, one JSON object each."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from search.space.resources import Footprint
from supcon.audit.findings import Looks, Twins
from supcon.config import METRICS, renamed
from supcon.parsing import Section

Phase = Literal["search", "pick", "confirm", "published", "one_view", "frozen"]
"""What a trial is for: the search; picking the winner; speaking for it; the reference rows."""
FINAL: tuple[Phase, ...] = ("confirm", "published", "one_view", "frozen")
"""Phases whose models are kept, to be tested."""
AFTER_SEARCH: tuple[Phase, ...] = ("pick", *FINAL)


def checked_arm(name: str) -> str:
    """The name of an arm; a ValueError unless it is one."""
    if not name.isidentifier():
        raise ValueError(f"an arm's name must be letters, digits and _, got '{name}'")
    return name


Outcome = Literal["completed", "stopped", "infeasible", "diverged", "failed"]
Decision = Literal["continue", "pause", "stop", "done"]
Reason = Literal["rung", "sentinel", "end"]
# A folder is named after it, and a log may come from somebody else.
Arm = Annotated[str, AfterValidator(checked_arm)]
TrialId = tuple[str, Phase, int]
LEAST_TRIED_FOUND = 0.1
"""Share of the changed training images, with which a look for look-alikes tells something."""
TIME_UP = "the time was up"
"""Detail of the end of a search trial that nothing but the study's time stopped."""


NEVER_DRAWN = ("run.", "augment.views")
"""Settings that all search trials of an arm share."""


def _is_empty(value: Any) -> bool:
    return not value


class _Event(Section):
    time: float = Field(default_factory=lambda: round(time.time(), 3))
    """Seconds since 1970."""


class Started(_Event):
    """A study was created (the first line) or resumed."""

    event: Literal["opened"] = "opened"
    study: str
    space: dict[str, Any]
    """As `search.space.loading.parse_space` reads it."""
    commit: str
    versions: dict[str, str]
    command: str = ""
    """As it was typed."""
    machine: str = ""
    data_hash: str = ""
    """Of train and val."""
    val_counts: tuple[int, ...] = Field((), exclude_if=_is_empty)
    """Images of val by class, which tell what a guess may score; older logs lack them."""
    measured: tuple[Footprint, ...] = Field((), exclude_if=_is_empty)
    """What each kind of config takes, where the space leaves that to be measured."""
    weights: dict[str, dict[str, str]] = Field({}, exclude_if=_is_empty)
    """`ModelConfig.weights_name` of what trials start from -> the settings that tell where it lies
    and what its hash is."""

    @property
    def selection_metric(self) -> str:
        """Name of what selects; `search.space.space.Space` has the same."""
        return METRICS["balanced" if self.space.get("selection") == "balanced" else "top1"]

    @model_validator(mode="before")
    @classmethod
    def _from_older_log(cls, value: Any) -> Any:
        """Earlier versions wrote what they had measured into the space."""
        if isinstance(value, dict) and isinstance(value.get("space"), dict):
            resources = value["space"].get("resources")
            if isinstance(resources, dict) and "measured" in resources:
                wanted = {key: each for key, each in resources.items() if key != "measured"}
                space = value["space"] | {"resources": wanted}
                return {"measured": resources["measured"]} | value | {"space": space}
        return value


class Shown(Section):
    """An image of a pair of copies."""

    part: str
    image: str
    """Its path, or its index in the part."""
    label: str
    picture: str
    """A small JPEG in base64."""


class Copies(Section):
    """Two images that are copies of each other."""

    kind: Literal["equal", "near", "mirrored"]
    difference: float
    """Of thumbnails, in levels of 0 to 255; mean over pixels and channels."""
    first: Shown
    second: Shown


class Audited(_Event):
    """The images were looked over before anything was trained on them."""

    event: Literal["audited"] = "audited"
    looks: list[Looks]
    twins: list[Twins]
    n_test: int
    test_in_train: str
    """Which test images have a copy in train: bits in image order, as `search.log.packed` has it.
    """
    test_in_val: str
    copies: list[Copies]
    """Some pairs, the worst first."""


class _TrialEvent(_Event):
    arm: Arm
    phase: Phase
    number: int

    @property
    def key(self) -> TrialId:
        """What tells trials apart."""
        return self.arm, self.phase, self.number


class Ask(_TrialEvent):
    """A trial was decided on."""

    event: Literal["ask"] = "ask"
    params: dict[str, Any]
    """Dotted config key -> drawn value."""
    seed: int
    of: int | None = None
    """After the search: the number of the search trial that the params stem from. For search: that
    of the first trial with the same params, if it was not the first; it is another seed of them."""
    settings: dict[str, Any] = Field({}, exclude_if=_is_empty)
    """Dotted config key -> value: what sets this run off from its arm's search trials beside
    `params`, as one view and another length."""

    @property
    def changes(self) -> dict[str, Any]:
        """All in which its config differs from that of its arm, but for the seed."""
        return {**self.params, **self.settings}

    @model_validator(mode="before")
    @classmethod
    def _from_older_log(cls, value: Any) -> Any:
        """Earlier versions wrote such settings among the params, which never draws them, and had
        other names of some.
        """
        if not (isinstance(value, dict) and isinstance(value.get("params"), dict)):
            return value
        params = renamed(value["params"])
        moved = {key: each for key, each in params.items() if key.startswith(NEVER_DRAWN)}
        drawn = {key: each for key, each in params.items() if key not in moved}
        return value | {"params": drawn} | ({"settings": moved} if moved else {})


class Report(_TrialEvent):
    """A trial reached an evaluated epoch, and what was decided about it."""

    event: Literal["report"] = "report"
    epoch: int
    metrics: dict[str, float]
    views: int
    seconds: float
    evaluation_seconds: float = 0
    """Time that the process which trained it last has spent on evaluation."""
    first_step: float | None = None
    """When that process began to train, in seconds since 1970. Older logs lack both."""
    checkpoint_seconds: float = 0
    """Time for which training in that process has waited for checkpoints."""
    memory: int | None = None
    """Bytes: the most that it has reserved on its GPU in this trial; None on the CPU."""
    decision: Decision


class Promoted(_TrialEvent):
    """A paused trial goes on from its checkpoint."""

    event: Literal["promoted"] = "promoted"
    why: Reason
    """rung: it is among the best there; sentinel: to the end, to tell what the rungs are worth;
    end: so did earlier versions, with the best, when little of the budget was left."""


Move = Ask | Promoted
"""What a search does next."""


class Retry(_TrialEvent):
    """A trial ran out of memory, and gets a second chance without neighbours."""

    event: Literal["retry"] = "retry"
    detail: str


class End(_TrialEvent):
    """A trial ended."""

    event: Literal["end"] = "end"
    outcome: Outcome
    epochs: int = 0
    """Epochs trained, also those after the last report."""
    detail: str = ""


class Searched(_Event):
    """The search is over: winners are found among its trials, until its budget is changed."""

    event: Literal["searched"] = "searched"


class Slept(_Event):
    """The machine slept since the event before, as a laptop does: it was not worked on then."""

    event: Literal["slept"] = "slept"
    seconds: float
    """By which the clock on the wall ran ahead of the time awake; negative: it was set back."""


class Unsealed(_Event):
    """The sealed test images are opened, for the runs of one row."""

    event: Literal["unsealed"] = "unsealed"
    arm: Arm
    phase: Phase
    numbers: list[int]
    """Of the runs that are tested."""
    commit: str
    data_hash: str
    """Of the test images."""
    of_files: bool = False
    """The hash is that of a folder's files. Older logs hashed its pixels, or names and lengths, as
    memory allowed: such a hash says nothing against another one."""
    classes: list[str]
    labels: str
    """Of the test images, as `search.log.packed.unpack_labels` reads them."""
    groups: str = Field("", exclude_if=_is_empty)
    """Ids of the groups that the test images come in, likewise; empty: in none."""


class Tested(_TrialEvent):
    """A run was scored on the test images."""

    event: Literal["tested"] = "tested"
    metrics: dict[str, float]
    n_images: int
    correct: dict[str, str]
    """Classifier -> which images it got right: bits packed in image order, base64."""


class Examined(_TrialEvent):
    """A tested run was examined by measures beyond accuracy, on the same test images."""

    event: Literal["examined"] = "examined"
    n_images: int
    n_corrupted: int
    """Test images that were also looked at corrupted."""
    n_unknown: int = 0
    """Images of unknown classes."""
    unknown_hash: str = Field("", exclude_if=_is_empty)
    """Of these."""
    n_equal: float | None = None
    """For how many blocks of one size the blocks of test images stand: where images come in groups,
    some are larger."""
    n_equal_unknown: float | None = None
    """Likewise of blocks that images of unknown classes are in, too."""
    values: dict[str, dict[str, list[float]]]
    """`probe`, `head`, or `features` alone -> measure -> its value on all images, then without each
    block of them."""


class Pictured(_TrialEvent):
    """The val images of a confirmed run in the plane, by t-SNE."""

    event: Literal["pictured"] = "pictured"
    classes: list[str]
    labels: list[int]
    """(N,) of the images, at most 1,000."""
    encoder: list[tuple[float, float]] | None
    """(N, 2); None: it could not be drawn."""
    projection: list[tuple[float, float]] | None
    """(N, 2) after the projection head, where there is one."""
    problems: dict[str, str] = Field({}, exclude_if=_is_empty)
    """`encoder` or `projection` -> why it could not be drawn."""


class Suspect(Section):
    """An image of train or val for which another class than its label is more probable."""

    part: Literal["train", "val"]
    index: int
    """In its part."""
    label: int
    """As given."""
    predicted: int
    self_confidence: float
    """Probability of the given label, out of sample."""
    margin: float
    """The same minus that of the likeliest other class."""
    is_probable: bool
    """Whether the label is probably wrong, by confident learning."""
    file: str | None = Field(None, exclude_if=_is_empty)
    """Where it has one."""
    picture: str | None = Field(None, exclude_if=_is_empty)
    """Of the first ones: WebP, base64."""


class Suspected(_Event):
    """The labels of train and val were compared with what the winners make of the images."""

    event: Literal["suspected"] = "suspected"
    judges: list[TrialId]
    """The runs whose features were asked."""
    classes: list[str]
    n_images: int
    n_found: int
    """Suspects in all."""
    n_probable: int
    """Of these, labels that are probably wrong."""
    suspects: list[Suspect]
    """The most suspicious first, at most 5,000."""


class LookAlike(Section):
    """A test image, and the training image that it may be a changed copy of."""

    correlation: float
    """Of their details, where one lies best on the other."""
    train: Shown
    test: Shown


class Compared(_Event):
    """Test images were compared with those of train, by the winners' features."""

    event: Literal["compared"] = "compared"
    judges: list[TrialId]
    """The runs whose features were asked."""
    n_test: int
    """Images of test that the hashes of the audit had not named."""
    n_found: int
    """Those whose correlation is above `least`."""
    least: float
    """Above which one image in `n_test` would be, were all like those of val."""
    n_val: int
    n_val_found: int
    """Images of val that are above it too."""
    n_tried: int
    """Training images that were shifted, cropped or mirrored, to see what is found."""
    n_tried_found: int
    pairs: list[LookAlike]
    """The most alike first, at most 24; none if the look tells nothing."""

    @property
    def tells_nothing(self) -> bool:
        """Whether so few of those tried were found that its silence, or its list, means nothing."""
        return self.n_tried_found < LEAST_TRIED_FOUND * self.n_tried


Event = (
    Started
    | Audited
    | Ask
    | Report
    | Promoted
    | Retry
    | End
    | Searched
    | Slept
    | Unsealed
    | Tested
    | Examined
    | Pictured
    | Suspected
    | Compared
)
ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])
"""Reads an event from its line."""
