"""Copy the MediaPipe models we ship out of the last wheel that carried them.

MediaPipe 1.x brings no models of its own. The legacy wheel named below does, under Apache-2.0, and
its face detectors load in the Tasks API as they are; the two hand models do once they are put in
one bundle; the face mesh runs in OpenCV. Every byte is checked against a hash in this file, and
each run gives the same result:

    python scripts/vendor_mediapipe.py                   # fetches the wheel with pip
    python scripts/vendor_mediapipe.py --wheel FILE.whl
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import click

VERSION = "0.10.21"
MODULES = "mediapipe/modules"
TARGET = Path(__file__).resolve().parent.parent / "weights" / "builtin" / "mediapipe"
LICENSE_IN_WHEEL = f"mediapipe-{VERSION}.dist-info/LICENSE"
BUNDLE = "hand_landmarker.task"

# Path in the wheel -> sha256. The models are the same in the wheels of every platform.
SHA256 = {
    f"{MODULES}/face_detection/face_detection_short_range.tflite": (
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
    ),
    f"{MODULES}/face_detection/face_detection_full_range_sparse.tflite": (
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1"
    ),
    f"{MODULES}/face_landmark/face_landmark.tflite": (
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"
    ),
    f"{MODULES}/palm_detection/palm_detection_full.tflite": (
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54"
    ),
    f"{MODULES}/hand_landmark/hand_landmark_full.tflite": (
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3"
    ),
    LICENSE_IN_WHEEL: "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
}

# Our file -> path in the wheel, copied byte for byte.
COPIES = {
    "face_detection_short_range.tflite": (
        f"{MODULES}/face_detection/face_detection_short_range.tflite"
    ),
    "face_detection_full_range_sparse.tflite": (
        f"{MODULES}/face_detection/face_detection_full_range_sparse.tflite"
    ),
    "face_landmark.tflite": f"{MODULES}/face_landmark/face_landmark.tflite",
    "LICENSE": LICENSE_IN_WHEEL,
}

# Name inside our bundle -> path in the wheel.
BUNDLED = {
    "hand_detector.tflite": f"{MODULES}/palm_detection/palm_detection_full.tflite",
    "hand_landmarks_detector.tflite": f"{MODULES}/hand_landmark/hand_landmark_full.tflite",
}

NOTICE = """\
MediaPipe models
Copyright The MediaPipe Authors. Licensed under the Apache License, Version 2.0 (see LICENSE).

Origin: the wheel mediapipe {version} on PyPI (https://pypi.org/project/mediapipe/{version}/),
which is built from https://github.com/google/mediapipe.

Copied without any change:
{copies}

Changed in form only: {bundle} is a zip archive (stored, not compressed) of two models of that
wheel, whose bytes are unchanged and whose names are those that MediaPipe's HandLandmarker asks for:
{bundled}

scripts/vendor_mediapipe.py made this folder. sha256 of its files:
{sums}
"""


def read_checked(wheel: zipfile.ZipFile, member: str) -> bytes:
    """Read one file of the wheel; a missing or altered one is a usage error."""
    try:
        data = wheel.read(member)
    except KeyError:
        raise click.ClickException(
            f"{wheel.filename} holds no {member}: is it {VERSION}?"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256[member]:
        raise click.ClickException(
            f"{member} in {wheel.filename} has sha256 {found}, expected {SHA256[member]}"
        )
    return data


def bundle(parts: dict[str, bytes]) -> bytes:
    """Zip the parts, stored and with a fixed date, so that the same parts give the same bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # else the zip would tell Windows from Unix
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def notice(files: dict[str, bytes]) -> str:
    """The text that says where each file is from, what was changed, and its hash."""
    return NOTICE.format(
        version=VERSION,
        bundle=BUNDLE,
        copies="\n".join(f"  {name}  <-  {path}" for name, path in COPIES.items()),
        bundled="\n".join(f"  {name}  <-  {path}" for name, path in BUNDLED.items()),
        sums="\n".join(f"{hashlib.sha256(d).hexdigest()}  {n}" for n, d in sorted(files.items())),
    )


def download(folder: Path) -> Path:
    """Fetch the wheel with pip; always the same one, whatever Python and platform run this."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    pinned = ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
    wanted = ["--dest", str(folder), f"mediapipe=={VERSION}"]
    subprocess.run([*pip, *pinned, *wanted], check=True)
    return next(folder.glob("mediapipe-*.whl"))


def vendor(wheel_path: Path, target: Path) -> dict[str, bytes]:
    """Write the shipped files into `target` and return them; none if a hash is off."""
    with zipfile.ZipFile(wheel_path) as wheel:
        files = {name: read_checked(wheel, path) for name, path in COPIES.items()}
        files[BUNDLE] = bundle({n: read_checked(wheel, path) for n, path in BUNDLED.items()})
    files["NOTICE"] = notice(files).encode()
    target.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (target / name).write_bytes(data)
    return files


@click.command()
@click.option(
    "--wheel",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"The mediapipe {VERSION} wheel; fetched with pip if left out.",
)
@click.option(
    "--target",
    type=click.Path(file_okay=False, path_type=Path),
    default=TARGET,
    help="Where the files go; weights/builtin/mediapipe by default.",
)
def main(wheel: Path | None, target: Path) -> None:
    """Write the MediaPipe models that autofix ships, checked against their hashes."""
    with tempfile.TemporaryDirectory() as folder:
        files = vendor(wheel or download(Path(folder)), target)
    for name, data in sorted(files.items()):
        click.echo(f"{hashlib.sha256(data).hexdigest()}  {len(data):>9}  {name}")


if __name__ == "__main__":
    main()
