from autofix.settings.region_sections import Detect
from autofix.stages.detect import detect
from tests.build import detection, picture


class Fixed:
    labels = ("face", "hand")

    def __init__(self, name, *found):
        self.name, self.found, self.names = name, found, None

    def detect(self, pictures, *, names=()):
        self.names = tuple(names)
        return [self.found for _ in pictures]

    def close(self):
        pass


FACE = detection((10, 10, 30, 30), score=0.7)
SURER = detection((11, 11, 31, 31), score=0.9, detector="other")
HAND = detection((11, 11, 31, 31), score=0.6, label="hand", detector="other")


def test_no_picture_is_no_answer():
    assert detect([], [Fixed("a", FACE)], Detect()) == []


def test_each_picture_gets_its_own_answer_and_detectors_hear_its_name():
    one = Fixed("a", FACE)
    assert detect([picture(name="a.png"), picture(name="b.png")], [one], Detect()) == [(FACE,)] * 2
    assert one.names == ("a.png", "b.png")


def test_of_two_detectors_answers_the_surer_stays_and_other_labels_do_not_matter():
    both = [Fixed("a", FACE), Fixed("b", SURER, HAND)]
    assert set(detect([picture()], both, Detect())[0]) == {SURER, HAND}


def test_overlap_is_a_setting():
    both = [Fixed("a", FACE), Fixed("b", SURER)]
    assert set(detect([picture()], both, Detect(overlap=0.99))[0]) == {FACE, SURER}
