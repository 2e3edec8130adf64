"""The event log: what is written is what is read, and damage is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from search.log.events import Ask, Slept, Started
from search.log.journal import Journal
from supcon.parsing import UserError
from tests.written import WrittenStudy


def ask(number: int = 0) -> Ask:
    return Ask(arm="ce", phase="search", number=number, params={"optim.lr_per_256": 0.1}, seed=3)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    study = WrittenStudy(tmp_path)
    study.ask("ce", 0)
    study.report("ce", 0, 3, 0.9)
    study.ask("ce", 1)
    study.report("ce", 0, 9, 0.95)
    study.end("ce", 0, "completed")
    yield study.log
    study.log.close()


def test_a_reopened_log_tells_the_same_story(journal: Journal) -> None:
    again = Journal.open(journal.path)
    assert again.events == journal.events
    assert again.trials == journal.trials


@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_a_study_that_cannot_be_begun_leaves_nothing_and_can_be_begun_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    place = "os.fsync" if call == "fsync" else f"pathlib.Path.{call}"
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises((OSError, UserError), match="No space left"):
            WrittenStudy(tmp_path)
    assert list(tmp_path.iterdir()) == []
    study = WrittenStudy(tmp_path)
    with pytest.raises(FileExistsError):
        WrittenStudy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    study.trial("ce", 0, 0.5)
    study.log.close()


def test_an_event_is_on_disk_before_anybody_hears_of_it(journal: Journal) -> None:
    heard: list[str] = []
    journal.listeners.append(lambda event: heard.append(journal.path.read_text().splitlines()[-1]))
    journal.append(ask(2))
    assert heard == [ask(2).model_copy(update={"time": journal.events[-1].time}).model_dump_json()]


class Clocks:
    """The wall's, which goes on while the machine sleeps, and one that does not."""

    def __init__(self) -> None:
        self.wall, self.awake = 1e9, 500.0

    def work(self, seconds: float) -> None:
        self.wall, self.awake = self.wall + seconds, self.awake + seconds

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.awake


@pytest.mark.parametrize(
    ("asleep", "is_logged"), [(7200, True), (31, True), (29, False), (-3600, True), (0, False)]
)
def test_a_sleep_of_the_machine_is_logged_before_what_follows_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, asleep: float, is_logged: bool
) -> None:
    clocks = Clocks()
    monkeypatch.setattr("search.log.journal.time", clocks)
    opened = Journal.open(journal.path)
    opened.append(ask(2))
    clocks.work(10_000)
    opened.append(ask(3))
    clocks.wall += asleep
    opened.append(ask(4))
    opened.append(ask(5))
    kinds = [type(event) for event in opened.events[-4:]]
    assert kinds == ([Ask, Slept, Ask, Ask] if is_logged else [Ask] * 4)
    if is_logged:
        slept = opened.events[-3]
        assert isinstance(slept, Slept)
        assert slept.seconds == asleep
        assert slept.time == opened.events[-2].time
    assert Journal.open(journal.path).events == opened.events


def test_a_sleep_before_a_study_goes_on_is_no_part_of_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks()
    monkeypatch.setattr("search.log.journal.time", clocks)
    opened = Journal.open(journal.path)
    clocks.wall += 7200
    opened.append(journal.started)
    opened.append(ask(2))
    assert [type(event) for event in opened.events[-2:]] == [Started, Ask]


@pytest.mark.parametrize("n_bytes", [1, 20])
def test_a_torn_last_line_is_cut_off_the_file(journal: Journal, n_bytes: int) -> None:
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"event":"ask","arm":"ce"'[:n_bytes])
    assert Journal.open(journal.path).events == journal.events
    assert journal.path.read_bytes() != whole  # who only reads changes nothing
    journal.close()
    again = Journal.open(journal.path, to_write=True)
    assert journal.path.read_bytes() == whole
    again.append(ask(2))
    assert Journal.open(journal.path).events == again.events


@pytest.mark.parametrize("line", ["garbage", "{}", '{"event": "ask"}', '{"event": "asked"}', ""])
def test_any_other_damage_is_an_error_that_names_the_line(journal: Journal, line: str) -> None:
    lines = journal.path.read_text().splitlines()
    lines[2] = line
    journal.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="line 3 is damaged"):
        Journal.open(journal.path)


def test_a_log_cannot_name_a_folder_outside_of_its_study(journal: Journal) -> None:
    text = journal.path.read_text()
    assert '"arm":"ce"' in text
    journal.path.write_text(text.replace('"arm":"ce"', '"arm":"../../ce"'))
    with pytest.raises(UserError, match=r"line 2 is damaged .*letters, digits and _, got '\.\./"):
        Journal.open(journal.path)


def test_a_missing_log_and_an_empty_one_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such study"):
        Journal.open(tmp_path / "events.jsonl")
    (tmp_path / "events.jsonl").write_text("")
    with pytest.raises(UserError, match="does not begin with the opening"):
        Journal.open(tmp_path / "events.jsonl")


def test_a_study_is_written_by_one_process_at_a_time(journal: Journal) -> None:
    with pytest.raises(UserError, match="another process is working on this study"):
        Journal.open(journal.path, to_write=True)
    journal.close()
    Journal.open(journal.path, to_write=True).close()


def test_a_failed_write_leaves_no_half_line(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    whole = journal.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UserError, match=r"cannot be written .no space left .* --resume$"):
            journal.append(ask(2))
    assert journal.path.read_bytes() == whole
    with pytest.raises(UserError, match="cannot be written"):
        journal.append(ask(2))  # the next event may speak of the missing one
    again = Journal.open(journal.path, to_write=False)
    again.append(ask(2))
    assert Journal.open(journal.path).events == again.events == [*journal.events, again.events[-1]]


def test_a_report_without_its_trial_is_damage(journal: Journal) -> None:
    report = journal.path.read_text().splitlines()[2]
    with journal.path.open("a") as file:
        file.write(report.replace('"number":0', '"number":7') + "\n")
    with pytest.raises(UserError, match="line 7 is damaged"):
        Journal.open(journal.path)


def test_a_study_is_never_created_over_another(journal: Journal) -> None:
    with pytest.raises(FileExistsError):
        Journal.create(journal.path, journal.started)
