"""Checkpoints made to run, fetch or write something: refused, or read as the data they hold."""

import io
import pickle
import struct
import zipfile

import pytest

from detectors.errors import DetectorError
from detectors.yolo.checkpoint import read_checkpoint
from tests.pickles import built, called, dict_of, named, text, tuple_of, write_checkpoint
from tests.watched import run_watched

MODEL = named("ultralytics.nn.tasks", "DetectionModel")
NEW = tuple_of() + b"\x81"  # NEWOBJ: an object without a call of its class's __init__
ORDERED = named("collections", "OrderedDict") + tuple_of() + b"R"
NOTHING = b"}"


def module(kind="ultralytics.nn.modules.conv Conv", **state):
    """A module as torch pickles it."""
    plain = {"_modules": ORDERED, "_parameters": ORDERED, "_buffers": ORDERED}
    return built(named(*kind.split()) + NEW, dict_of(**{**plain, **state}))


def mapping(**items):
    return ORDERED + b"".join(text(key) + value + b"s" for key, value in items.items())


CONFIG = dict_of(nc=b"K\x01", backbone=b"]", head=b"]")
NAMES = b"}K\x00" + text("face") + b"s"


def model(**state):
    given = {"yaml": CONFIG, "names": NAMES, **state}
    return dict_of(model=module("ultralytics.nn.tasks DetectionModel", **given))


TENSOR = called(
    named("torch._utils", "_rebuild_tensor_v2"),
    tuple_of(text("storage"), named("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x04")
    + b"Q",
    b"K\x00",
    tuple_of(b"K\x04"),
    tuple_of(b"K\x01"),
    b"\x89",
    ORDERED,
)
FOUR = {"0": struct.pack("<4f", 1, 2, 3, 4)}


def test_data_of_a_model_are_read(tmp_path):
    held = model(_modules=mapping(model=module(_parameters=mapping(weight=TENSOR))))
    found = read_checkpoint(write_checkpoint(tmp_path / "m.pt", held, storages=FOUR))
    assert (found.kind, found.names) == ("DetectionModel", {0: "face"})
    assert found.config == {"nc": 1, "backbone": [], "head": []}
    assert {name: each.tolist() for name, each in found.tensors.items()} == {
        "model.weight": [1, 2, 3, 4]
    }


def nested(depth):
    """Modules one in the other."""
    made = module()
    for _ in range(depth):
        made = module(_modules=mapping(m=made))
    return made


def shared(depth):
    """Few modules, which hold each other on two to the power of `depth` ways."""
    made = module() + b"q\x01"
    for _ in range(depth):
        made = module(_modules=mapping(a=b"h\x01", b=b"h\x01")).join([made + b"0", b"q\x01"])
    return made


SYSTEM = named("os", "system")
ATTACKS = {
    "a call in the model's place": dict_of(model=called(SYSTEM, text("touch MARK"))),
    "a call in the moving average's place": dict_of(ema=called(SYSTEM, text("touch MARK"))),
    "an eval": dict_of(model=called(named("builtins", "eval"), text("open('MARK', 'w')"))),
    "a module that fetches": dict_of(
        model=called(named("ultralytics.nn.distill_model", "DistillationModel"), text("URL/x.pt"))
    ),
    "a layer that fetches": dict_of(
        model=called(named("ultralytics.nn.modules.block", "TorchVision"), text("resnet18"))
    ),
    "a model built while it is read": dict_of(
        model=called(MODEL, dict_of(activation=text("open('MARK', 'w')")))
    ),
    "a function for a tensor": model(_modules=mapping(m=module(_modules=mapping(x=SYSTEM)))),
    "a class's attribute set": built(MODEL, tuple_of(NOTHING, dict_of(forward=SYSTEM))),
    "the dictionary's attribute set": built(
        named("collections", "OrderedDict"), tuple_of(NOTHING, dict_of(items=SYSTEM))
    ),
    "a dictionary with its own items": dict_of(
        model=built(ORDERED, tuple_of(NOTHING, dict_of(get=SYSTEM, items=SYSTEM)))
    ),
    "the tensors' function changed": built(
        named("torch._utils", "_rebuild_tensor_v2"), tuple_of(NOTHING, dict_of(x=SYSTEM))
    ),
    "names that are an object": model(names=called(named("os", "system"), text("touch MARK"))),
    "a configuration that is an object": model(yaml=module()),
    "an object in the configuration": model(yaml=dict_of(nc=module())),
    "a function in the configuration": model(yaml=dict_of(activation=SYSTEM)),
    "a configuration in itself": model(yaml=b"}q\x05" + text("a") + b"h\x05s"),
    "an endless number": model(yaml=dict_of(nc=b"G\x7f\xf0\x00\x00\x00\x00\x00\x00")),
    "modules too deep": model(_modules=mapping(m=nested(200))),
    "modules in themselves": model(
        _modules=b"}q\x05" + text("a") + module(_modules=b"h\x05") + b"s"
    ),
    "modules shared": dict_of(model=shared(60)),
    "tuples 100,000 deep": b"(" * 100_000 + b"t" * 100_000,
    "a list in itself": b"]q\x00h\x00a",
    "a key 300,000 deep": b"}" + b"(" * 300_000 + b"t" * 300_000 + b"K\x00s",
    "bytes by a name 300,000 deep": dict_of(
        model=b"("
        + text("storage")
        + named("torch", "FloatStorage")
        + b"(" * 300_000
        + b"t" * 300_000
        + text("cpu")
        + b"K\x04tQ"
    ),
    "numbers that collide as keys": b"}"
    + b"".join(
        b"\x8a\x20" + (number * (2**61 - 1)).to_bytes(32, "little") + b"K\x00s"
        for number in range(1, 50_000)
    ),
    "a bytearray of all memory": b"\x96" + struct.pack("<Q", 2**36),
    "a list copied again and again": b"]q\x00("
    + b"K\x00" * 1_000_000
    + b"e0"
    + ORDERED[:-2]
    + b"q\x010"
    + b"h\x01h\x00\x85R" * 200_000,
    "a tensor larger than its bytes": model(
        _modules=mapping(
            m=module(
                _parameters=mapping(
                    weight=TENSOR.replace(
                        tuple_of(b"K\x04"), tuple_of(b"J\xff\xff\xff\x7f")
                    ).replace(tuple_of(b"K\x01"), tuple_of(b"K\x00"))
                )
            )
        )
    ),
    "a tensor's attributes set": dict_of(model=built(TENSOR, dict_of(x=SYSTEM))),
    "a memo of four thousand million": b"}r\xff\xff\xff\x7f",
    "a text longer than the file": b"X\xff\xff\xff\x7fabc",
    "an extension": b"\x82\x01",
    "a storage that is not there": dict_of(model=TENSOR),
    "a storage outside": dict_of(
        model=tuple_of(
            text("storage"),
            named("torch", "FloatStorage"),
            text("../../version"),
            text("cpu"),
            b"K\x01",
        )
        + b"Q"
    ),
    "a storage of another type": dict_of(
        model=tuple_of(text("storage"), SYSTEM, text("0"), text("cpu"), b"K\x01") + b"Q"
    ),
    "another reference": dict_of(model=text("module://os") + b"Q"),
    "a number of a million digits": b"\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000,
    "a file of names": b"".join(named("m", f"name{number}") + b"0" for number in range(2_000))
    + NOTHING,
    "no dictionary": b"]",
    "nothing": b"N",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_crafted_checkpoint_is_refused(tmp_path, name):
    path = write_checkpoint(tmp_path / "evil.pt", ATTACKS[name])
    with pytest.raises(DetectorError):
        read_checkpoint(path)


def test_crafted_checkpoints_run_fetch_and_write_nothing(tmp_path):
    """All of them through the detector itself, in a process that is watched."""
    folder = tmp_path / "models"
    folder.mkdir()
    for number, attack in enumerate(ATTACKS.values()):
        write_checkpoint(folder / f"{number}.pt", attack)
    code = f"""
from pathlib import Path
from detectors.errors import DetectorError
from detectors.settings import DetectorSettings
from detectors.yolo.detector import YoloDetector
for number in range({len(ATTACKS)}):
    try:
        YoloDetector(Path({str(folder)!r}, f"{{number}}.pt"), DetectorSettings(device="cpu"))
    except DetectorError as error:
        print(str(error).replace("\\n", " "))
    else:
        print("opened", number)
"""
    done = run_watched(["-c", code], tmp_path)
    lines = done.out.splitlines()
    assert (done.code, len(lines)) == (0, len(ATTACKS)), done.err
    assert all("can be loaded safely" in line for line in lines), lines
    assert not done.outside(tmp_path / "temp")
    assert not [*(tmp_path / "home").iterdir()]
    assert not [*(tmp_path / "work").iterdir()]


def test_pythons_own_unpickler_runs_the_attack():
    """So the attacks are real ones: Python's own unpickler runs the first."""
    ran = []

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            return ran.append if (module, name) == ("os", "system") else object

    first = next(iter(ATTACKS.values()))
    Reader(io.BytesIO(b"\x80\x02" + first + b".")).load()
    assert ran == ["touch MARK"]


def archive_of(path, *, members=(("archive/data.pkl", b"\x80\x02}."),), compressed=False):
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("members", "compressed", "message"),
    [
        ((("archive/data.pkl", bytes(50_000_000)),), True, "it is compressed"),
        ((("archive/data.pkl", bytes(5_000_000)),), False, "its pickle has 5000000 bytes"),
        ((("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02}.")), False, "not one"),
        ((("a/data.pkl", b"\x80\x02}."), ("a/constants.pkl", b"")), False, "TorchScript"),
        ((("a/other", b""),), False, "not one checkpoint"),
    ],
)
def test_archive_that_torch_does_not_write_is_refused(tmp_path, members, compressed, message):
    path = archive_of(tmp_path / "m.pt", members=members, compressed=compressed)
    with pytest.raises(DetectorError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("length", range(0, 2_000, 97))
def test_checkpoint_that_is_cut_off_is_refused(tmp_path, length):
    held = model(_modules=mapping(model=module(_parameters=mapping(weight=TENSOR))))
    data = write_checkpoint(tmp_path / "m.pt", held, storages=FOUR).read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: min(length, len(data) - 1)])
    with pytest.raises(DetectorError):
        read_checkpoint(tmp_path / "cut.pt")
