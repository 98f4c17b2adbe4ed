from __future__ import annotations

import json

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.scripted import ScriptedDetector
from detectors.settings import DetectorSettings

PICTURE = np.zeros((60, 80, 3), np.uint8)


@pytest.fixture
def script(tmp_path):
    def write(content):
        path = tmp_path / "boxes.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def boxes(found):
    return [detection.box_xyxy for detection in found]


def test_no_pictures_no_boxes(script):
    assert ScriptedDetector(script({})).detect([]) == []


def test_pictures_get_their_own_boxes(script):
    path = script({"a.png": [[1, 2, 30, 40]], "b.png": [], "c.png": [[0, 0, 5, 5], [5, 5, 9, 9]]})
    with ScriptedDetector(path) as detector:
        found = detector.detect([PICTURE] * 4, names=["c.png", "a.png", "unknown.png", "b.png"])
    assert [boxes(each) for each in found] == [
        [(0, 0, 5, 5), (5, 5, 9, 9)],
        [(1, 2, 30, 40)],
        [],
        [],
    ]
    assert {(d.label, d.score, d.detector) for each in found for d in each} == {
        ("face", 1.0, "scripted")
    }


def test_relative_path_comes_before_the_file_name(script):
    path = script({"a.png": [[0, 0, 1, 1]], "in/a.png": [[0, 0, 2, 2]]})
    detector = ScriptedDetector(path)
    found = detector.detect(
        [PICTURE] * 4, names=["in/a.png", "out/a.png", "in\\a.png", "./in/a.png"]
    )
    assert [each[0].box_xyxy[2] for each in found] == [2, 1, 2, 2]


def test_entry_can_say_more(script):
    entry = {
        "box": [1, 1, 9, 9],
        "label": "hand",
        "score": 0.4,
        "polygon": [[1, 1], [9, 1], [9, 9]],
    }
    detector = ScriptedDetector(script({"a.png": [entry, [0, 0, 5, 5]]}))
    face, hand = detector.detect([PICTURE], names=["a.png"])[0]
    assert (hand.label, hand.score, hand.polygon) == ("hand", 0.4, ((1, 1), (9, 1), (9, 9)))
    assert face.label == "face"
    assert detector.labels == ("face", "hand")


def test_confidence_asked_for_holds_here_too(script):
    path = script({"a.png": [{"box": [1, 1, 9, 9], "score": 0.4}, [0, 0, 5, 5]]})
    detector = ScriptedDetector(path, DetectorSettings(confidence=0.5))
    assert boxes(detector.detect([PICTURE], names=["a.png"])[0]) == [(0, 0, 5, 5)]


def test_boxes_are_cut_to_the_picture_and_refused_outside_it(script):
    detector = ScriptedDetector(script({"a.png": [[-5, 50, 100, 70]], "b.png": [[80, 0, 99, 9]]}))
    assert boxes(detector.detect([PICTURE], names=["a.png"])[0]) == [(0, 50, 80, 60)]
    with pytest.raises(
        DetectorError, match=r"\(80\.0, 0\.0, 99\.0, 9\.0\) lies outside 'b.png'.*80 x 60"
    ):
        detector.detect([PICTURE], names=["b.png"])


def test_names_are_needed(script):
    with pytest.raises(DetectorError, match="name"):
        ScriptedDetector(script({})).detect([PICTURE])


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        ('{"a.png": [[1, 2, 3,, 4]]}', "line 1 column 21"),
        ('{"a.png":\n  [[1, 2}', "line 2 column 9"),
        ("", "line 1 column 1"),
        ("[]", "must look like"),
        ({"a.png": 3}, "'a.png': must be a list of boxes, but is 3"),
        ({"a.png": [[0, 0, 1, 1], [1, 2, 3]]}, r"'a.png', box 2: box_xyxy.*\[1, 2, 3\]"),
        ({"a.png": [[5, 5, 1, 1]]}, "'a.png', box 1: .*left < right"),
        ({"a.png": [["x", 0, 1, 1]]}, "'a.png', box 1: .*'x'"),
        ({"a.png": [7]}, "'a.png', box 1: "),
        ({"a.png": [{"label": "hand"}]}, "box 1: has no 'box'"),
        ({"a.png": [{"box": [0, 0, 1, 1], "scroe": 1}]}, "unknown key 'scroe'"),
        ({"a.png": [{"box": [0, 0, 1, 1], "score": "high"}]}, "box 1: "),
        ({"a.png": [{"box": [0, 0, 1, 1], "label": 3}]}, "box 1: .*label"),
        ({"a.png": [{"box": [0, 0, 1, 1], "polygon": [[0, 0]]}]}, "box 1: polygon"),
    ],
)
def test_faulty_file_says_where(script, content, quoted):
    with pytest.raises(DetectorError, match=quoted):
        ScriptedDetector(script(content))


def test_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DetectorError, match=r"nowhere\.json cannot be read: No such file"):
        ScriptedDetector(tmp_path / "nowhere.json")
    (tmp_path / "latin.json").write_bytes(b'{"\xe9.png": []}')
    with pytest.raises(DetectorError, match=r"latin\.json is not UTF-8 text \(byte 2\)"):
        ScriptedDetector(tmp_path / "latin.json")
