"""explore.html: nothing in it is markup or code but its own; what a browser makes of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from supcon.bundle.model import Model
from supcon.explore import contents as module
from supcon.explore.contents import Choices, contents
from supcon.explore.judging import NotJudged
from supcon.explore.looking import look_at_bundle
from supcon.explore.page import explored, write_page
from supcon.explore.placing import GRID
from supcon.explore.wording import around
from supcon.parsing import UserError
from tests.browser import CHROMIUM, Browser

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"
)
HOSTILE = ("</script><script>document.title='owned'</script>", "$x$ {{ 7 * 7 }} <!--", "猫")

T = TypeVar("T")


@pytest.fixture(scope="module")
def shown(model: Model, bundle: Path) -> dict[str, Any]:
    """Of the bundle; its images lie in a row from corner to corner."""

    def places(features: Any, *_: object) -> Any:
        steps = np.linspace(0, GRID, len(features)).round().astype(np.int64)
        return np.stack([steps, steps], axis=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "places", places)
        looked = look_at_bundle(model, bundle, 1000)
        found = contents(model, looked, Choices(say=lambda _: None))
    return found | {"classes": list(HOSTILE)}


@pytest.fixture(scope="module")
def page(
    shown: dict[str, Any], model: Model, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("page") / "explore.html"
    looked = look_at_bundle(model, bundle, 1000)
    write_page(path, explored(shown, **around(bundle, model, looked, shown)))
    return path


def test_what_comes_in_with_images_is_text_and_never_markup(page: Path, shown: Any) -> None:
    html = page.read_text(encoding="utf-8")
    assert html.count("<script") == html.count("</script>") == 2
    assert "<!--" not in html
    data = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert json.loads(data[0]) == shown
    assert all("</script>" in path for path in shown["images"]["path"])


def test_the_page_runs_its_own_script_alone_and_fetches_nothing(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    code = re.findall(r"<script>(.*?)</script>", html, re.S)[0]
    own = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)[0]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{own}'; style-src 'unsafe-inline'; img-src data:"
    )
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=.?(http|//)", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", code)


def test_sections_that_cannot_be_shown_say_why_in_their_place(
    shown: dict[str, Any], model: Model, bundle: Path
) -> None:
    lacking = shown | {"map": "the <features> are equal", "confusions": "a", "suspects": "b"}
    looked = look_at_bundle(model, bundle, 1000)
    html = explored(lacking, **around(bundle, model, looked, lacking))
    assert "not drawn: the &lt;features&gt; are equal" in html
    assert html.count("not shown: ") == 2
    assert '<canvas id="map"' not in html


def test_a_path_that_is_no_utf8_can_be_written(tmp_path: Path) -> None:
    write_page(tmp_path / "x.html", "a\udcffb")
    assert (tmp_path / "x.html").read_bytes() == b"a\\udcffb"


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--out .*/none/x\.html: cannot be written \(No such"):
        write_page(tmp_path / "none" / "x.html", "")


async def opened(browser: Browser, page: Path, width: int) -> None:
    await browser.open(page, width)
    for _ in range(600):
        if await browser.value("document.body.dataset.ready"):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(str(browser.complaints))


def looked_at(
    page: Path, act: Callable[[Browser], Awaitable[T]], width: int = 1400
) -> tuple[T, Browser]:
    async def look() -> tuple[T, Browser]:
        async with Browser() as browser:
            await opened(browser, page, width)
            return await act(browser), browser

    return asyncio.run(look())


async def point_at(browser: Browser, shown: dict[str, Any], i: int) -> None:
    """Move the mouse to where image i must be on the map."""
    box = await browser.value(
        "(() => { const map = document.getElementById('map'); map.scrollIntoView();"
        " const b = map.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
    )
    left, top, width, height = box
    side = min(width, height) - 24
    x = left + width / 2 + (shown["map"]["x"][i] / GRID - 0.5) * side
    y = top + height / 2 + (shown["map"]["y"][i] / GRID - 0.5) * side
    await browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)


@pytest.mark.slow
@needs_chromium
def test_pointing_at_an_image_shows_that_image(page: Path, shown: dict[str, Any]) -> None:
    n = shown["images"]["n"]
    asked = [0, 7, n // 2, n - 1]

    async def act(browser: Browser) -> list[tuple[str, str]]:
        found = []
        for i in asked:
            await point_at(browser, shown, i)
            text = await browser.value("document.getElementById('card').textContent")
            picture = await browser.value("document.querySelector('#card canvas').toDataURL()")
            found.append((text, picture))
        return found

    cards, browser = looked_at(page, act)
    for i, (text, picture) in zip(asked, cards, strict=True):
        images = shown["images"]
        assert images["path"][i] in text
        assert text.startswith(f"{HOSTILE[images['label'][i]]} (")
        sure = f"{100 * images['probability'][i]:.1f}\u00a0%"
        assert f"taken for {HOSTILE[images['predicted'][i]]}, {sure}" in text
        with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as tile:
            drawn = np.asarray(tile.convert("RGB")).astype(float)
        with Image.open(images["path"][i]) as file:
            own = np.asarray(file.convert("RGB").resize(drawn.shape[:2], 0)).astype(float)
        assert abs(drawn.mean((0, 1)) - own.mean((0, 1))).max() < 4
        assert np.corrcoef(drawn.mean(2).ravel(), own.mean(2).ravel())[0, 1] > 0.5
    assert browser.complaints == []


@pytest.mark.slow
@needs_chromium
def test_a_click_on_a_confusion_lists_its_images_and_their_neighbours(
    page: Path, shown: dict[str, Any]
) -> None:
    cell = max(shown["confusions"], key=lambda cell: len(cell["images"]))

    async def act(browser: Browser) -> tuple[str, int]:
        n = f"{cell['n']} image" + ("s" if cell["n"] > 1 else "")
        label, predicted = HOSTILE[cell["label"]], HOSTILE[cell["predicted"]]
        await browser.click(f"{label} taken for {predicted}: {n}")
        strips = await browser.value("document.querySelectorAll('#cell .strip canvas').length")
        return await browser.value("document.getElementById('cell').textContent"), strips

    (text, strips), browser = looked_at(page, act)
    places = [text.index(shown["images"]["path"][each["image"]]) for each in cell["images"]]
    assert places == sorted(places)
    assert strips == sum(len(each["near"]) for each in cell["images"]) > 0
    assert browser.complaints == []


@pytest.mark.slow
@needs_chromium
def test_the_slider_counts_the_images_beyond_it_and_shows_the_nearest_of_them(
    page: Path, shown: dict[str, Any]
) -> None:
    distances = np.array(shown["images"]["distance"])[shown["unknown"]["known"]]

    async def act(browser: Browser) -> list[tuple[str, int]]:
        found = []
        for value in (0, 700, 1000):
            await browser.value(
                f"(() => {{ const s = document.getElementById('threshold'); s.value = {value};"
                " s.dispatchEvent(new Event('input')); })()"
            )
            text = await browser.value("document.getElementById('beyond').textContent")
            pictures = await browser.value("document.querySelectorAll('#just figure').length")
            found.append((text, pictures))
        return found

    told, browser = looked_at(page, act)
    counts = []
    for text, pictures in told:
        limit = float(re.findall(r"Beyond a distance of ([\d.]+):", text)[0])
        n, total = map(int, re.findall(r": (\d+) of (\d+) held-out", text)[0])
        assert n == pytest.approx((distances > limit).sum(), abs=1)  # shown with 4 digits
        assert total == len(distances)
        assert pictures == min(24, n)
        counts.append(n)
    assert counts[0] == len(distances) > counts[1] > counts[2] == 0
    assert browser.complaints == []


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_its_window_and_can_be_used_by_keyboard_and_legend(
    page: Path, shown: dict[str, Any], width: int
) -> None:
    async def act(browser: Browser) -> dict[str, Any]:
        fits = await browser.value("document.scrollingElement.scrollWidth")
        title = await browser.value("document.title")
        await browser.value("document.getElementById('map').focus()")
        for key in ("+", "ArrowRight"):
            await browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        card = await browser.value("document.querySelector('#card:not([hidden])').textContent")
        await browser.value("document.querySelector('#legend button').click()")
        counted = await browser.value("document.getElementById('count').textContent")
        return {"fits": fits, "title": title, "card": card, "count": counted}

    found, browser = looked_at(page, act, width)
    images = shown["images"]
    assert found["fits"] <= width
    assert found["title"] == "model: what the model sees"  # and not owned
    assert any(path in found["card"] for path in images["path"])
    n = images["label"][: images["n"]].count(0)
    assert found["count"] == f"{n} of {images['n']} images"
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []


@pytest.mark.slow
@needs_chromium
def test_a_page_without_a_map_shows_all_else(
    shown: dict[str, Any], model: Model, bundle: Path, tmp_path: Path
) -> None:
    lacking = shown | {"map": str(NotJudged("the features of all images are equal"))}
    looked = look_at_bundle(model, bundle, 1000)
    path = tmp_path / "explore.html"
    write_page(path, explored(lacking, **around(bundle, model, looked, lacking)))

    async def act(browser: Browser) -> int:
        return int(await browser.value("document.querySelectorAll('#matrix button').length"))

    cells, browser = looked_at(path, act)
    assert cells == len(shown["confusions"])
    assert browser.complaints == []


@pytest.mark.slow
@needs_chromium
def test_confusions_of_more_classes_than_a_matrix_can_show_are_listed_by_their_number(
    shown: dict[str, Any], model: Model, bundle: Path, tmp_path: Path
) -> None:
    image = {"image": 0, "near": [1]}
    cells: list[dict[str, Any]] = [
        {"label": i, "predicted": j, "n": 1 + i * j % 7, "images": [image]}
        for i in range(50)
        for j in range(50)
        if (i + j) % 5 == 0
    ]
    many = shown | {"classes": [f"class {i}" for i in range(50)], "confusions": cells}
    looked = look_at_bundle(model, bundle, 1000)
    path = tmp_path / "explore.html"
    write_page(path, explored(many, **around(bundle, model, looked, many)))

    async def act(browser: Browser) -> list[str]:
        found: list[str] = await browser.value(
            "[...document.querySelectorAll('#matrix .pairs button')].map(b => b.textContent)"
        )
        await browser.value("document.querySelector('#matrix .pairs button').click()")
        assert await browser.value("document.querySelectorAll('#cell .row').length") == 1
        return found

    pairs, browser = looked_at(path, act, 390)
    counts = [int(text.rpartition(" ")[2]) for text in pairs]
    wrong = sorted((c["n"] for c in cells if c["label"] != c["predicted"]), reverse=True)
    assert counts == wrong[:300]
    assert browser.complaints == []
