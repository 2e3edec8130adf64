"""curves.svg: a line for every trial."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from search.reporting.curves import STYLES, draw_curves
from tests.reported import confirm
from tests.written import WrittenStudy


def drawn(
    study: WrittenStudy,
) -> tuple[ElementTree.Element, dict[str, int], list[ElementTree.Element]]:
    """The picture, how many lines of each kind it has beside its legend, and all points."""
    picture = ElementTree.fromstring(draw_curves(study))
    kinds = {colour: kind for kind, (colour, _, _) in STYLES.items()}
    lines, points = dict.fromkeys(STYLES, 0), []
    for node in picture.iter():
        found = re.search(r"stroke: (#\w+)", node.attrib.get("style", ""))
        if found and found[1] in kinds:
            if node.tag.endswith("path") and "clip-path" in node.attrib:
                lines[kinds[found[1]]] += 1
            elif node.tag.endswith("use"):
                points.append(node)
    return picture, lines, points


def test_the_picture_shows_a_line_for_every_trial_and_a_point_for_every_score(
    study: WrittenStudy,
) -> None:
    confirm(study, 3)
    picture, lines, points = drawn(study)
    assert lines == {"stopped": 2, "completed": 4, "confirmed": 6}
    assert len(points) == sum(len(trial.reports) for trial in study.log.trials.values())
    *_, width, height = map(float, picture.attrib["viewBox"].split())
    for point in points:
        assert 0 <= float(point.attrib["x"]) <= width
        assert 0 <= float(point.attrib["y"]) <= height


def test_a_higher_score_is_a_higher_point_in_both_panels_alike(study: WrittenStudy) -> None:
    _, _, points = drawn(study)
    heights = [float(point.attrib["y"]) for point in points]
    supcon, ce = heights[: len(heights) // 2], heights[len(heights) // 2 :]
    assert supcon == ce
    # The stopped trial is drawn first: 40 %, then 50, 80, 60 and 90.
    assert sorted(supcon, reverse=True) == [supcon[i] for i in (0, 1, 3, 2, 4)]


def test_the_same_study_has_the_same_picture(study: WrittenStudy) -> None:
    assert draw_curves(study) == draw_curves(study)


def test_an_arm_in_any_script_is_text_of_the_picture(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, arms={"名前": {"loss.name": "ce"}, "_x_": {"loss.name": "ce"}})
    study.trial("名前", 0, 0.5)
    assert {">名前<", ">_x_<"} <= set(re.findall(r">[^<>\n]+<", draw_curves(study)))
