import json
from contextlib import closing

from autofix.frontends.files.journal import Journal

ONE = {"picture": "a/b.png", "content": "c" * 64, "fingerprint": "f" * 16}


def test_entry_is_known_now_and_later(tmp_path):
    with closing(Journal(tmp_path)) as journal:
        assert not journal.has_content(**ONE)
        journal.add({"status": "fixed"}, **ONE)
        assert journal.has_content(**ONE)
    later = Journal(tmp_path)
    assert later.has_content(**ONE)
    for key in ONE:
        assert not later.has_content(**{**ONE, key: "other"})


def test_last_entry_of_a_picture_counts(tmp_path):
    other = {**ONE, "content": "d" * 64}
    with closing(Journal(tmp_path)) as journal:
        for each in (ONE, other):
            journal.add({}, **each)
    for each in (journal, Journal(tmp_path)):
        assert each.has_content(**other)
        assert not each.has_content(**ONE)  # its result was replaced


def test_a_file_is_untouched_if_its_stamp_is_the_last_one(tmp_path):
    name = {key: ONE[key] for key in ("picture", "fingerprint")}
    with closing(Journal(tmp_path)) as journal:
        assert not journal.has_stamp(stamp=(1, 2, 3), **name)
        journal.add({}, stamp=(1, 2, 3), **ONE)
    for each in (journal, Journal(tmp_path)):
        assert each.has_stamp(stamp=(1, 2, 3), **name)
        assert not each.has_stamp(stamp=(1, 2, 4), **name)
        assert not each.has_stamp(stamp=(1, 2, 3), **{**name, "fingerprint": "other"})
    with closing(Journal(tmp_path)) as journal:
        journal.add({}, **ONE)  # as an older version did, that knew no stamps
        assert not journal.has_stamp(stamp=(1, 2, 3), **name)


def test_a_journal_nobody_wrote_to_leaves_no_trace(tmp_path):
    with closing(Journal(tmp_path / "out")) as journal:
        assert not journal.has_content(**ONE)
    assert not (tmp_path / "out").exists()


def test_a_line_half_written_by_a_killed_run_is_ignored_and_does_not_spoil_the_next(tmp_path):
    with closing(Journal(tmp_path)) as journal:
        journal.add({}, **ONE)
    path = journal.path
    path.write_text(path.read_text(encoding="ascii") + '{"picture": "torn', encoding="ascii")
    with closing(Journal(tmp_path)) as again:
        assert again.has_content(**ONE)
        again.add({}, **{**ONE, "picture": "next"})
    whole = Journal(tmp_path)
    assert whole.has_content(**ONE)
    assert whole.has_content(**{**ONE, "picture": "next"})


def test_names_that_are_no_unicode_are_kept(tmp_path):
    name = b"a\xff.png".decode("utf-8", "surrogateescape")
    with closing(Journal(tmp_path)) as journal:
        journal.add({"input": name}, **{**ONE, "picture": name})
    assert Journal(tmp_path).has_content(**{**ONE, "picture": name})
    assert json.loads(journal.path.read_text(encoding="ascii"))["record"]["input"] == name
