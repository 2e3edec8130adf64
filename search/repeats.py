"""Independent searches, and only then a sentence about the methods: `--repeat R`.

Each repeat is a study of its own, of another study seed and another split, in
`results/<name>/repeat-<r>/`. What they found is compared by a t-test over their R differences. R is
kept: to add searches after looking at what the first ones found would be to stop when it pleases.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from search.judge.comparison import MIN_SEARCHES, methods
from search.judge.verdict import methods_sentence
from search.reporting.tables import aligned
from search.space.space import Space
from supcon.parsing import UserError, read_yaml
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
            file.write_text(yaml.safe_dump(space.dump(), sort_keys=False), encoding="utf-8")
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


def repeat_changes(space: Space, number: int) -> tuple[int, list[str]]:
    """Seed of the study, and --set changes, of repeat `number` from 0; the first changes nothing.

    Where a folder has a val of its own, its images do not change.
    """
    if number == 0:
        return space.seed, []
    split = derive_seed(space.config.data.split_seed, "repeat", number)
    return derive_seed(space.seed, "repeat", number), [f"data.split_seed={split}"]


def conclude_repeats(folder: Path) -> str:
    """Write what the repeats in a folder found together, and return it as Markdown."""
    summaries = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("repeat-*/summary.json"), key=_number)
    }
    judged = {
        name: s["verdict"]
        for name, s in summaries.items()
        if s["verdict"]["difference"] is not None
    }
    facts = _together(list(judged.values()), list(summaries.values()))
    facts["repeats"] = {
        name: {key: s["verdict"][key] for key in ("difference", "ci95", "n_seeds", "text")}
        for name, s in summaries.items()
    }
    (folder / "summary.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    text = _markdown(folder.name, facts)
    (folder / "report.md").write_text(text, encoding="utf-8")
    return text


def _number(path: Path) -> int:
    return int(path.parent.name.removeprefix("repeat-"))


def _together(verdicts: list[dict[str, Any]], summaries: list[dict[str, Any]]) -> dict[str, Any]:
    differences = [v["difference"] for v in verdicts]
    heads = [v["against_head"]["difference"] for v in verdicts if v["against_head"]]
    text = methods_sentence(
        summaries[0]["verdict"]["a"],
        summaries[0]["verdict"]["b"],
        differences,
        heads if len(heads) == len(differences) else None,
        n_searches=len(summaries),
        same_test_images=_are_same([o for s in summaries for o in s["test_openings"]]),
    )
    found = methods(differences) if len(differences) >= MIN_SEARCHES else None
    return {
        "difference": found and found.difference,
        "ci95": found and list(found.ci95),
        "p_value": found and found.p_value,
        "n_searches": len(differences),
        "text": text,
    }


def _are_same(openings: list[dict[str, Any]]) -> bool:
    """Whether openings found the same images, as far as their hashes are of the same kind.

    What an older repeat hashed of a folder says nothing against the files of a later one.
    """
    known = {(o.get("of_files", False), o["data_hash"]) for o in openings if o["data_hash"]}
    return bool(known) and len(known) == len({kind for kind, _ in known})


def _markdown(name: str, facts: dict[str, Any]) -> str:
    rows = [["search", "difference", "95 % interval", "seeds"]]
    for repeat, v in facts["repeats"].items():
        interval = "-"
        if v["ci95"]:
            interval = "{:+.2f} to {:+.2f}".format(*(100 * bound for bound in v["ci95"]))
        difference = "-" if v["difference"] is None else f"{100 * v['difference']:+.2f}"
        rows.append([f"[{repeat}]({repeat}/report.md)", difference, interval, str(v["n_seeds"])])
    return f"# {name}: independent searches\n\n{facts['text']}\n\n{aligned(rows)}\n"
