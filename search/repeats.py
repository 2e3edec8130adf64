"""Independent searches, and only then a sentence about the methods: `--repeat R`.

Each repeat is a study of its own, of another study seed and another split, in
`results/<name>/repeat-<r>/`. What they found is compared by a t-test over their R differences. R is
kept: to add searches after looking at what the first ones found would be to stop when it pleases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from search.engine.interrupts import EARLY, Interrupt
from search.judge.difference import MIN_SEARCHES, Difference, holm, methods
from search.judge.sentence import methods_sentence
from search.on_end import OnEnd
from search.preflight.options import Options
from search.preflight.which_study import check_name, check_unchanged, space_name
from search.reporting.files import write_file
from search.reporting.tables import aligned
from search.space.loading import load_space
from search.space.space import Space
from supcon.config import TOP1
from supcon.parsing import UserError, read_yaml
from supcon.plain_yaml import write
from supcon.seeds import derive_seed

SPACE, NUMBER = "space.yaml", "repeats.yaml"


def begin_repeats(folder: Path, space: Space, n_searches: int, *, to_resume: bool) -> Path:
    """The file with the space that all repeats share, in the folder that holds them.

    Raises:
        UserError: the folder exists, or, to resume, does not, or was begun with another number.
    """
    file = folder / SPACE
    if to_resume != file.exists() or (folder.exists() and not to_resume):
        raise UserError(
            f"--repeat: {folder} holds no repeats to go on with; leave --resume out"
            if to_resume
            else f"--repeat: {folder} exists; continue with --resume, remove it, or choose another "
            f"name with --name"
        )
    try:
        if not to_resume:
            folder.mkdir(parents=True)
            file.write_text(write(space.dump()), encoding="utf-8")
        if not (folder / NUMBER).exists():  # nor did earlier versions write it
            (folder / NUMBER).write_text(f"searches: {n_searches}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--results {folder.parent}: cannot be written ({error})") from error
    begun = read_yaml(folder / NUMBER).get("searches")
    if begun != n_searches:
        raise UserError(
            f"--repeat {n_searches}: {folder} was begun with {begun} searches, and what they found "
            f"must not decide how many there are; go on with --repeat {begun}, or start all anew "
            f"under another --name"
        )
    return file


def forget_repeats(folder: Path) -> None:
    """Leave nothing behind of repeats of which not even the first has begun."""
    if not any(folder.glob("repeat-*")):
        for name in (SPACE, NUMBER):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody keeps something there
            folder.rmdir()


Run = Callable[[Options, Interrupt, OnEnd], int]


def repeat(options: Options, interrupt: Interrupt, on_end: OnEnd, run: Run) -> int:
    """Independent searches, each a study of its own in the folder of their common name.

    Args:
        options: the command line.
        interrupt: asks to stop.
        on_end: is told the folder.
        run: runs a search, and says how it ended.
    """
    if options.repeat is None or options.repeat < 2:
        raise UserError(f"--repeat must be at least 2 searches, got {options.repeat}")
    if options.dry_run or options.extend:
        raise UserError("--repeat: does not go with --dry-run or --extend; run them without it")
    check_name(options.name)
    given = options.changes()
    folder = options.results / (options.name or space_name(options))
    to_resume = options.resume or (options.go_on and (folder / SPACE).exists())
    if to_resume and (folder / SPACE).exists():
        check_unchanged(load_space(folder / SPACE, {}), given)
    space = load_space(options.space, {} if to_resume else given)
    file = begin_repeats(folder, space, options.repeat, to_resume=to_resume)
    on_end.study = folder
    codes = []
    for number in range(options.repeat):
        print(f"search    {number + 1} of {options.repeat}", flush=True)
        try:
            codes.append(run(options_of(options, file, number), interrupt, on_end))
        except UserError:
            forget_repeats(folder)
            raise
        if codes[-1] in EARLY:
            return codes[-1]
    print(conclude_repeats(folder))
    return max(codes)


def options_of(options: Options, file: Path, number: int) -> Options:
    """What a command line asks for, as that of repeat `number` from 0 of the space in `file`."""
    name, folder = f"repeat-{number + 1}", file.parent
    to_resume = (folder / name).exists()
    own = {} if to_resume else repeat_settings(load_space(file, {}), number)
    kept = {k: v for k, v in options.settings.items() if k == "resources.concurrency"}
    changes = {"space": file, "results": folder, "name": name, "resume": to_resume}
    others = {"settings": kept | own, "assignments": (), "points": None}  # they are in the file
    return options.model_copy(update=changes | others)


def repeat_settings(space: Space, number: int) -> dict[str, Any]:
    """What differs in repeat `number` from 0; in the first, nothing.

    Where images come with a val or test of their own, these do not change.
    """
    if number == 0:
        return {"seed": space.seed}
    split = derive_seed(space.config.data.split_seed, "repeat", number)
    return {"seed": derive_seed(space.seed, "repeat", number), "data.split_seed": split}


class _Head(BaseModel):
    difference: float


class _Comparison(BaseModel):
    a: str | None
    b: str | None
    difference: float | None
    ci95: tuple[float, float] | None
    n_seeds: int
    against_head: _Head | None


class _Verdict(_Comparison):
    text: str
    comparisons: list[_Comparison] = []

    @property
    def each(self) -> list[_Comparison]:
        """Of an only arm none."""
        return self.comparisons or ([self] if self.b else [])


class _Opening(BaseModel):
    data_hash: str | None
    of_files: bool | None = False


class _Found(BaseModel):
    """What counts of a repeat's summary.json, which an earlier version may have written."""

    verdict: _Verdict
    test_openings: list[_Opening]
    metric: str = TOP1


def conclude_repeats(folder: Path) -> str:
    """Write what the repeats in a folder found together, and return it as Markdown."""
    found = {
        path.parent.name: _Found.model_validate_json(path.read_bytes())
        for path in sorted(folder.glob("repeat-*/summary.json"), key=_number)
    }
    facts = _together(list(found.values()))
    facts["repeats"] = {name: _shown(each.verdict) for name, each in found.items()}
    write_file(folder / "summary.json", json.dumps(facts, indent=2) + "\n")
    text = _markdown(folder.name, facts)
    write_file(folder / "report.md", text)
    return text


def _number(path: Path) -> int:
    return int(path.parent.name.removeprefix("repeat-"))


def _shown(verdict: _Verdict) -> dict[str, Any]:
    """What is shown of a repeat: its difference, or those of several comparisons."""
    kept = {"difference", "ci95", "n_seeds"}
    facts = verdict.model_dump(mode="json", include={*kept, "text"})
    if verdict.comparisons:
        dumped = (c.model_dump(mode="json", include={"a", "b", *kept}) for c in verdict.comparisons)
        facts["comparisons"] = list(dumped)
    return facts


@dataclass(frozen=True)
class _Pair:
    """What the searches found of an arm and the baseline."""

    a: str
    b: str
    probes: list[float]
    """Differences, of each search that compared the two."""
    heads: list[float]
    """Likewise against the baseline's own head, where it has one."""


def _pairs(found: list[_Found]) -> Iterator[_Pair]:
    for i, first in enumerate(found[0].verdict.each):
        each = [one.verdict.each[i] for one in found]
        known = [one for one in each if one.difference is not None]
        probes = [one.difference for one in known if one.difference is not None]
        heads = [one.against_head.difference for one in known if one.against_head]
        yield _Pair(str(first.a), str(first.b), probes, heads)


def _together(found: list[_Found]) -> dict[str, Any]:
    """What the searches come to; several comparisons are judged together."""
    pairs = list(_pairs(found))
    enough = [pair for pair in pairs if len(pair.probes) >= MIN_SEARCHES]
    judged = holm([methods(pair.probes) for pair in enough], len(enough))
    probes = {pair.a: each for pair, each in zip(enough, judged, strict=True)}
    each = [_facts(pair, probes.get(pair.a), found) for pair in pairs]
    if len(each) == 1:
        return each[0]
    for pair, facts in zip(pairs, each, strict=True):
        facts |= {"a": pair.a, "b": pair.b, "text": f"{pair.a} and {pair.b}: {facts['text']}"}
    texts = [facts["text"] for facts in each] or ["A single arm: there is nothing to compare."]
    facts = dict.fromkeys(["difference", "ci95", "p_value"])
    return facts | {"n_searches": len(found), "text": " ".join(texts), "comparisons": each}


def _facts(pair: _Pair, probes: Difference | None, found: list[_Found]) -> dict[str, Any]:
    """What the searches say of an arm and the baseline; None: too few compared them."""
    head = None
    if probes is not None and len(pair.heads) == len(pair.probes):
        head = methods(pair.heads).judged_as(probes)
    text = methods_sentence(
        pair.a,
        pair.b,
        probes,
        head,
        n_judged=len(pair.probes),
        n_searches=len(found),
        same_test_images=_are_same([o for each in found for o in each.test_openings]),
        metric=found[0].metric,
    )
    facts: dict[str, Any] = {
        "difference": probes and probes.difference,
        "ci95": probes and list(probes.ci95),
        "p_value": probes and probes.p_value,
        "n_searches": len(pair.probes),
        "text": text,
    }
    if probes is not None and probes.judged is not None:
        facts["judged"] = asdict(probes.judged)
    return facts


def _are_same(openings: list[_Opening]) -> bool:
    """Whether openings found the same images, as far as their hashes are of the same kind.

    What an older repeat hashed of a folder says nothing against the files of a later one.
    """
    known = {(o.of_files, o.data_hash) for o in openings if o.data_hash}
    return bool(known) and len(known) == len({kind for kind, _ in known})


def _markdown(name: str, facts: dict[str, Any]) -> str:
    rows = [["search", "difference", "95 % interval", "seeds"]]
    for repeat, found in facts["repeats"].items():
        for v in found.get("comparisons", [found]):
            what = f" {v['a']} minus {v['b']}" if "a" in v else ""
            interval = "-"
            if v["ci95"]:
                interval = "{:+.2f} to {:+.2f}".format(*(100 * bound for bound in v["ci95"]))
            difference = "-" if v["difference"] is None else f"{100 * v['difference']:+.2f}"
            link = f"[{repeat}]({repeat}/report.md){what}"
            rows.append([link, difference, interval, str(v["n_seeds"])])
    text = "\n\n".join(each["text"] for each in facts.get("comparisons") or [facts])
    return f"# {name}: independent searches\n\n{text}\n\n{aligned(rows)}\n"
