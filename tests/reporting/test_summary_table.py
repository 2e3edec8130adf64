"""results/README.md says what summary.json holds."""

from __future__ import annotations

from pathlib import Path

from search.reporting.summary_table import summary_table

README = Path(__file__).parents[2] / "results" / "README.md"


def test_the_table_of_the_summary_is_that_of_its_models() -> None:
    """If not: put there what `python -m search.reporting.summary_table` prints."""
    assert summary_table() in README.read_text(encoding="utf-8")


def test_keys_inside_of_lists_and_of_arms_are_named_by_their_place() -> None:
    table = summary_table()
    assert "| `arms.<name>.audit.rungs[].tau` | number or null | Kendall's tau-b" in table
    assert "| `verdict.ci95` | pair of numbers or null |" in table
    assert "| `arms.<name>.confirm.val` | lists of numbers by name |" in table
