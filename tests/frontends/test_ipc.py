import json
import os
import socket
import stat
import threading

import pytest

from autofix.errors import AutofixError, BusyError, PictureError, UsageError
from autofix.frontends import ipc as local
from autofix.frontends.ipc import call, listening, private_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "r"
    monkeypatch.setenv("AUTOFIX_RUNTIME", str(place))
    return place


@pytest.fixture(params=[True, False], ids=["unix", "tcp"])
def unix(request):
    return request.param


def counting(message):
    yield from ({"n": n} for n in range(message["to"]))


def test_a_call_is_answered_message_by_message(folder, unix):
    with listening(counting, unix=unix):
        assert list(call({"to": 3})) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert list(call({"to": 0})) == []
    assert call({"to": 3}) is None


def test_nobody_listens_where_a_process_was_killed(folder, unix):
    folder.mkdir(mode=0o700)
    if unix:
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(folder / "worker-1.sock"))
        dead.close()
    else:
        told = {"port": 9, "token": "t"}
        (folder / "worker-1.json").write_text(json.dumps(told), encoding="ascii")
    assert call({"to": 3}) is None
    with listening(counting, unix=unix):
        assert list(call({"to": 1})) == [{"n": 0}]


def test_only_one_listens(folder, unix):
    with (
        listening(counting, unix=unix),
        pytest.raises(UsageError, match="another autofix"),
        listening(counting, unix=unix),
    ):
        pass


@pytest.mark.parametrize(
    ("raised", "comes"),
    [
        (UsageError("no such thing", "do this"), UsageError),
        (PictureError("damaged", "mend it"), AutofixError),
        (ZeroDivisionError("inside"), AutofixError),
    ],
)
def test_what_goes_wrong_there_is_raised_here(folder, unix, raised, comes):
    def failing(message):
        yield {"n": 1}
        raise raised

    with listening(failing, unix=unix):
        answers = call({})
        assert next(answers) == {"n": 1}
        with pytest.raises(comes, match=str(raised.args[0])) as caught:
            next(answers)
    assert type(caught.value) is comes


def test_a_listener_that_stops_is_a_broken_connection(folder, unix):
    def stopping(message):
        yield {"n": 1}
        raise BusyError("autofix is stopping", "start it again")

    with listening(stopping, unix=unix):
        answers = call({})
        assert next(answers) == {"n": 1}
        with pytest.raises(ConnectionError):
            next(answers)


def test_others_cannot_get_at_it(folder, unix):
    with listening(counting, unix=unix):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []


def test_a_folder_that_others_can_enter_is_refused(folder):
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(UsageError, match="open to other users"):
        call({})
    with pytest.raises(UsageError, match="chmod 700"), listening(counting):
        pass


def test_a_link_to_a_folder_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="open to other users"):
        private_folder()


def test_another_users_folder_is_refused(folder, monkeypatch):
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UsageError, match="open to other users"):
        private_folder()


def test_another_users_process_is_not_answered(folder, monkeypatch):
    monkeypatch.setattr(local, "_peer_uid", lambda connection: os.geteuid() + 1)
    with listening(counting, unix=True), pytest.raises(ConnectionError):
        list(call({"to": 3}))


def test_a_peer_is_known_by_the_system():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert local._peer_uid(ours) == os.geteuid()


@pytest.mark.parametrize("token", [None, "", "wrong", "ä"])
def test_a_call_without_the_token_is_refused(folder, monkeypatch, token):
    with listening(counting, unix=False):
        monkeypatch.setattr(
            local, "_proof", lambda folder: {} if token is None else {"token": token}
        )
        with pytest.raises(UsageError, match="wrong token"):
            list(call({"to": 3}))


@pytest.mark.parametrize(
    "said", [b"nonsense\n", b"[1]\n", b"{}", b'{"to": 1', b"[" * 100_000 + b"\n"]
)
def test_what_is_no_call_is_refused(folder, said):
    with listening(counting, unix=True), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(folder / "worker-1.sock"))
        caller.sendall(said)
        caller.shutdown(socket.SHUT_WR)
        answer = json.loads(caller.makefile("rb").readline())
    assert "no line of JSON" in answer["problem"]


def test_calls_are_answered_at_the_same_time(folder):
    both = threading.Barrier(2, timeout=10)

    def meeting(message):
        both.wait()
        yield message

    with listening(meeting):
        results = [[], []]
        threads = [
            threading.Thread(target=lambda n=n: results[n].extend(call({"n": n}))) for n in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert results == [[{"n": 0}], [{"n": 1}]]


def test_the_systems_folder_is_used_where_none_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("AUTOFIX_RUNTIME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert private_folder() == tmp_path / "autofix"


def test_a_path_too_long_for_a_socket_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOFIX_RUNTIME", str(tmp_path / ("long" * 30)))
    with pytest.raises(UsageError, match="short path"), listening(counting, unix=True):
        pass
