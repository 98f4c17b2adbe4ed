import contextlib
import json
import os
import socket
import stat
import threading
from multiprocessing.connection import Client

import pytest

from autofix.errors import AutofixError, BusyError, PictureError, UsageError
from autofix.frontends import ipc
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


def worker_of(folder):
    """What the process that listens has written: its address and its token."""
    return json.loads((folder / "worker-2.json").read_text(encoding="ascii"))


def connected(folder, **more):
    address = worker_of(folder)["address"]
    return Client(address if isinstance(address, str) else tuple(address), **more)


def test_nobody_listens_where_a_process_was_killed(folder, unix):
    folder.mkdir(mode=0o700)
    path = folder / "worker-2.sock"
    if unix:
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(path))
        dead.close()
    worker = {"address": str(path) if unix else ["127.0.0.1", 9], "token": "ab"}
    (folder / "worker-2.json").write_text(json.dumps(worker), encoding="ascii")
    assert call({"to": 3}) is None
    with listening(counting, unix=unix):
        assert list(call({"to": 1})) == [{"n": 0}]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"address": 3, "token": "ab"}', '{"address":'])
def test_a_damaged_file_of_a_worker_counts_for_nothing(folder, text):
    folder.mkdir(mode=0o700)
    (folder / "worker-2.json").write_text(text, encoding="ascii")
    assert call({"to": 3}) is None


def test_a_link_to_a_token_is_not_followed(folder, tmp_path):
    with listening(counting):
        (folder / "worker-2.json").rename(tmp_path / "worker.json")
        (folder / "worker-2.json").symlink_to(tmp_path / "worker.json")
        assert call({"to": 3}) is None


def test_second_listener_is_refused(folder, unix):
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
def test_errors_of_the_listener_are_raised_by_the_caller(folder, unix, raised, comes):
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
        assert len(list(folder.iterdir())) == 1 + unix
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
    with listening(counting, unix=True):
        assert list(call({"to": 1})) == [{"n": 0}]
        monkeypatch.setattr(ipc, "peer_uid", lambda caller: os.geteuid() + 1)
        assert call({"to": 3}) is None


def test_a_peer_is_known_by_the_system():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert ipc.peer_uid(ours) == os.geteuid()


@pytest.mark.parametrize("token", ["", "ab", "ab" * 32])
def test_a_call_without_the_token_is_refused(folder, unix, token):
    with listening(counting, unix=unix):
        worker = {**worker_of(folder), "token": token}
        (folder / "worker-2.json").write_text(json.dumps(worker), encoding="ascii")
        with pytest.raises(UsageError, match="wrong token"):
            call({"to": 3})


def test_the_token_itself_is_never_sent(folder):
    """Whoever listens at a dead worker's port learns nothing."""
    folder.mkdir(mode=0o700)
    token = bytes(range(32))
    with socket.create_server(("127.0.0.1", 0)) as server:
        worker = {"address": server.getsockname(), "token": token.hex()}
        (folder / "worker-2.json").write_text(json.dumps(worker), encoding="ascii")
        caller = threading.Thread(target=lambda: [call({"to": 3})])
        caller.start()
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"\0\0\0\x1b#CHALLENGE#0123456789abcdef")
            sent = connection.recv(1000)
        caller.join(10)
    assert sent
    assert token not in sent


@pytest.mark.parametrize("said", [b"nonsense", b"[1]", b"", b'{"to": 1', b"[" * 100_000])
def test_bad_call_is_refused(folder, unix, said):
    with listening(counting, unix=unix):
        authkey = bytes.fromhex(worker_of(folder)["token"])
        with connected(folder, authkey=authkey) as caller:
            caller.send_bytes(said)
            assert "no JSON object" in json.loads(caller.recv_bytes())["problem"]


def test_a_call_of_many_bytes_is_not_read(folder):
    with listening(counting):
        authkey = bytes.fromhex(worker_of(folder)["token"])
        with connected(folder, authkey=authkey) as caller:
            with contextlib.suppress(OSError):
                caller.send_bytes(json.dumps({"to": 1, "more": "x" * 2**20}).encode())
            with pytest.raises((EOFError, OSError)):
                caller.recv_bytes()


def test_silent_callers_stop_nobody_and_are_hung_up_on(folder, unix, monkeypatch):
    monkeypatch.setattr(ipc, "CALL_SECONDS", 1)
    with listening(counting, unix=unix):
        silent = [connected(folder) for _ in range(3)]
        assert list(call({"to": 1})) == [{"n": 0}]
        for caller in silent:
            caller.recv_bytes()  # the challenge
            assert caller.poll(10)
            with caller, pytest.raises((EOFError, OSError)):
                caller.recv_bytes()


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
