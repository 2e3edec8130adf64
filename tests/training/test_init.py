"""What `import supcon` offers, and what it leaves alone until it is asked for."""

from __future__ import annotations

import importlib
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import supcon
from supcon.config import Config, override
from supcon.images.split import Splits


def modules_after(code: str) -> set[str]:
    """The packages that a new process has imported when it has run `code`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", supcon.__all__)
def test_a_name_is_that_of_the_module_that_defines_it(name: str) -> None:
    (module,) = (module for module, names in supcon._MODULES.items() if name in names)
    found = getattr(supcon, name)
    assert found is getattr(importlib.import_module(module), name)
    assert found.__module__ == module


def test_every_name_is_offered_and_listed() -> None:
    known = [name for names in supcon._MODULES.values() for name in names]
    assert sorted(known) == sorted(supcon.__all__)
    assert set(supcon.__all__) <= set(dir(supcon))


def test_an_unknown_name_is_refused_with_that_of_the_package() -> None:
    with pytest.raises(AttributeError, match=r"^module 'supcon' has no attribute 'train_all'$"):
        _ = supcon.train_all


def test_importing_the_package_loads_no_library() -> None:
    heavy = {"torch", "pydantic", "numpy", "ray", "optuna", "search"}
    assert modules_after("import supcon") & heavy == set()


def test_reading_a_config_does_not_load_torch() -> None:
    loaded = modules_after("from supcon import Config, load_config, override; Config()")
    assert "pydantic" in loaded
    assert not {"torch", "numpy", "ray", "optuna", "search"} & loaded


def test_the_example_of_the_package_runs(
    tiny: Config, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = supcon.__doc__ or ""
    example = textwrap.dedent(text[text.index("    config = ") : text.index("\n\nand uses")])
    assert len(example.splitlines()) == 6
    small = override(tiny, {"run.epochs": 1})
    names = {name: getattr(supcon, name) for name in supcon.__all__}
    names |= {"Path": Path, "images": digits.val.images, "override": lambda *_: small}
    monkeypatch.chdir(tmp_path)
    Path("example.py").write_text(example)
    found = runpy.run_path("example.py", init_globals=names)
    assert len(found["class_ids"]) == len(digits.val)
    assert (tmp_path / "model.pt").exists()
