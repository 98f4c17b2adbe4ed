import io
import re

from autofix.cli import progress
from autofix.cli.progress import Reasons, where_time_went, with_progress
from autofix.pipeline.timing import Timing


def record(*regions):
    return {"regions": [{"result": result, "reason": reason} for result, reason in regions]}


FIXED = ("fixed", "")


class Clock:
    """Five seconds pass whenever it is looked at."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 5
        return self.now


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "time", Clock())
    given = [record(FIXED, ("kept", "worse")), record(FIXED), record(), record(FIXED)]
    assert list(with_progress(given, total=8, quiet=False)) == given
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "2 of 8 pictures, 2 faces, 0.20 faces/s, 30 s left",
        "4 of 8 pictures, 3 faces, 0.15 faces/s, 20 s left",
    ]


def test_quiet_says_nothing(capsys):
    assert len(list(with_progress([record(FIXED)] * 3, total=3, quiet=True))) == 3
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal_counts_pictures_and_faces(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    list(with_progress([record(FIXED, FIXED)] * 3, total=3, quiet=False))
    assert re.search(r"3/3 .*6 faces, [\d.]+ faces/s", screen.getvalue())


def test_reasons_that_differ_in_figures_alone_are_one():
    reasons = Reasons()
    reasons.add_record(record(("kept", "score 0.61 under 0.7"), FIXED))
    reasons.add_record(record(("kept", "score 0.2 under 0.7"), ("skipped", "too large")))
    assert list(reasons.summary_lines()) == [
        "  2 kept: score 0.61 under 0.7",
        "  1 skipped: too large",
    ]


def test_reasons_shown_are_the_most_frequent():
    reasons = Reasons()
    for name in "abcdefg":
        reasons.add_record(record(("skipped", name)))
    *_, fifth, last = reasons.summary_lines()
    assert fifth.startswith("  1 skipped")
    assert last == "  and 2 other reasons (--jsonl tells all)"


def test_the_time_is_told_by_stage(monkeypatch):
    timing = Timing()
    timing.seconds["inpaint"] = 6.0
    timing.seconds["detect"] = 1.5
    monkeypatch.setattr(Timing, "wall_seconds", property(lambda self: 8.0))
    assert where_time_went(timing, 16) == (
        "time: 8.0 s, 2.00 faces/s; at once: decode 0.0, detect 1.5, crop 0.0, inpaint 6.0, "
        "check 0.0, blend 0.0, encode 0.0 s; model idle 25 %"
    )
