"""A detector that runs any YOLO detection or segmentation model by ultralytics."""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import shutil
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from detectors.base import Closing, Pixels, check_pictures
from detectors.detection import Detection, Point, in_order
from detectors.errors import DetectorError
from detectors.isolation import patch_attribute, process_untouched
from detectors.overlap import suppress_overlaps
from detectors.settings import DEFAULTS, DetectorSettings
from detectors.tiling import Window, is_cut, tile_windows
from detectors.yolo.build import OTHER_TASKS, build_model
from detectors.yolo.checkpoint import CheckpointError, read_checkpoint
from detectors.yolo.onnx_export import OnnxHeader, onnx_errors, read_header

CONFIDENCE = 0.3
"""Least score by default: ADetailer's."""

IOU = 0.7
"""Boxes of one view that overlap more than this are one thing, by default: ultralytics' own."""

IMAGE_SIZE_PX = 640
"""Side at which the model looks, by default: ultralytics' own."""

TASKS = ("detect", "segment")
"""The tasks whose models are taken."""

BATCH_VIEWS = 16
"""Views that the model gets at once, unless its export says otherwise."""

TILES_IOU = 0.5
"""IOU between views of one picture: two views of one thing agree less than boxes of one view."""

TILES_SMALLER = 0.9
"""The same by `overlap_of_smaller`."""

TILES_MARGIN_PX = 2.0
"""A box this near to a tile's inner edge is dropped: another view shows the thing whole."""

_LOCK = threading.Lock()
_LOAD_ERRORS = (TypeError, ValueError, AttributeError, KeyError, ImportError, RuntimeError, OSError)


class YoloDetector(Closing):
    """Finds what a YOLO model was trained to find. Not thread-safe.

    path: a .pt of ultralytics, or an .onnx exported by it; detection or segmentation. The model is
    loaded once, here. Labels are the model's class names, of which `DetectorSettings.classes`
    keeps some. With a segmentation model each detection has a polygon: the outline of the largest
    piece of its mask, through the middles of its outermost pixels. Loading installs nothing and
    leaves the process's threads, environment and print options as they were.

    Of a .pt only the data are taken, and the model is built from them afresh: nothing in it runs
    unless `DetectorSettings.trust_pickle` is set. Opening it asks no network and writes no file.

    Raises DetectorError for a file that is missing, damaged, of another task or that cannot be
    taken so, an unknown class name, and a device that is not there.
    """

    def __init__(self, path: Path, settings: DetectorSettings = DEFAULTS) -> None:
        if not path.is_file():
            raise DetectorError(f"no model file at {path}: check the detector's path")
        self.name = f"yolo:{path.stem}"
        self._settings = settings
        self._header = read_header(path) if path.suffix.lower() == ".onnx" else None
        self._model: Any = _load_model(path, self._header, trust_pickle=settings.trust_pickle)
        _check_task(path, self._model.task)
        self._classes: tuple[int, ...] | None = None
        self._warm_up(path)
        names: dict[int, str] = self._model.names
        self._classes = _class_indices(names, settings.classes, path)
        self.labels = tuple(names[index] for index in self._classes or sorted(names))

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """Find things in each picture; see `Detector.detect`."""
        check_pictures(pictures, names)
        if self._model is None:
            raise DetectorError(f"the detector {self.name} was closed: open it again")
        views = [
            (index, window)
            for index, pixels in enumerate(pictures)
            for window in self._windows_of((pixels.shape[1], pixels.shape[0]))
        ]
        found: list[list[Detection]] = [[] for _ in pictures]
        for batch in _batches_by_size(views, self._batch_views):
            crops = [_cut_bgr(pictures[index], window) for index, window in batch]
            for (index, window), result in zip(batch, self._predict_views(crops), strict=True):
                height, width = pictures[index].shape[:2]
                found[index] += self._read_result(result, window, (width, height))
        return [self._merge_tiles(detections) for detections in found]

    def close(self) -> None:
        """Give back the model. Closing again does nothing."""
        self._model = None

    @property
    def _batch_views(self) -> int:
        return BATCH_VIEWS if self._header is None else self._header.batch or BATCH_VIEWS

    def _windows_of(self, size_wh: tuple[int, int]) -> tuple[Window, ...]:
        whole = Window(0, 0, *size_wh)
        if self._settings.tile is None or max(size_wh) <= self._settings.tile:
            return (whole,)
        return (whole, *tile_windows(size_wh, tile=self._settings.tile))

    def _merge_tiles(self, found: list[Detection]) -> tuple[Detection, ...]:
        if self._settings.tile is None:
            return in_order(found)
        limit = TILES_IOU if self._settings.iou is None else self._settings.iou
        return suppress_overlaps(found, iou_above=limit, smaller_above=TILES_SMALLER)

    def _warm_up(self, path: Path) -> None:
        """Run the model once, as that may change the process: here it is put back."""
        with _isolated_ultralytics():
            try:
                self._predict_views([np.zeros((32, 32, 3), dtype=np.uint8)])
            except (DetectorError, ValueError, AssertionError) as error:
                raise DetectorError(
                    f"{path.name} does not run on device {self._settings.device!r}: {error}"
                ) from error

    def _predict_views(self, crops: list[Pixels]) -> list[Any]:
        count = len(crops)
        if self._header is not None and self._header.batch is not None:
            crops = crops + crops[-1:] * (self._header.batch - count)
        settings = self._settings
        errors: tuple[type[Exception], ...] = (RuntimeError,)
        if self._header is not None:
            errors += onnx_errors()
        try:
            results = self._model.predict(
                crops,
                batch=len(crops),
                conf=CONFIDENCE if settings.confidence is None else settings.confidence,
                iou=IOU if settings.iou is None else settings.iou,
                imgsz=settings.image_size or IMAGE_SIZE_PX,
                classes=None if self._classes is None else list(self._classes),
                device=settings.device,
                retina_masks=True,  # masks in the picture's own pixels, the letterbox taken off
                verbose=False,
                save=False,
            )
        except errors as error:
            raise DetectorError(
                f"{self.name} failed on {len(crops)} views of up to {crops[0].shape}: {error}"
            ) from error
        return list(results)[:count]

    def _read_result(
        self, result: Any, window: Window, size_wh: tuple[int, int]
    ) -> Iterator[Detection]:
        """Yield what lies wholly in one view, in picture coordinates."""
        boxes = result.boxes.cpu().numpy()
        masks = None if result.masks is None else result.masks.data.cpu().numpy()
        for place, (x0, y0, x1, y1) in enumerate(boxes.xyxy.tolist()):
            if x0 >= x1 or y0 >= y1:
                continue
            seen = Detection(
                (x0, y0, x1, y1),
                result.names[int(boxes.cls[place])],
                min(float(boxes.conf[place]), 1.0),
                self.name,
                polygon=None if masks is None else mask_outline(masks[place]),
            )
            found = seen.move_by(window.x0, window.y0)
            if not is_cut(found.box_xyxy, window, size_wh=size_wh, margin_px=TILES_MARGIN_PX):
                clipped = found.clip_to(size_wh)
                if clipped is not None:
                    yield clipped


def mask_outline(mask: np.ndarray[Any, Any]) -> tuple[Point, ...] | None:
    """Return the outline of the largest piece of a mask, or None if no piece has three corners.

    mask: height x width, 0 or not. The outline runs through the middles of the outermost pixels,
    without holes; the middle of the top left pixel is (0.5, 0.5).
    """
    import cv2

    pieces = cv2.findContours(
        (mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )[0]
    largest = max(pieces, key=cv2.contourArea, default=None)
    if largest is None or len(largest) < 3:
        return None
    return tuple((float(x) + 0.5, float(y) + 0.5) for x, y in largest[:, 0])


def _cut_bgr(pixels: Pixels, window: Window) -> Pixels:
    """A copy of a window's pixels, BGR as ultralytics expects of arrays."""
    return np.ascontiguousarray(pixels[window.y0 : window.y1, window.x0 : window.x1, ::-1])


def _batches_by_size(
    views: list[tuple[int, Window]], count: int
) -> Iterator[list[tuple[int, Window]]]:
    """Yield batches of views of one size.

    ultralytics pads mixed sizes more than equal ones, so a view's batch would change its result.
    """
    by_size: dict[tuple[int, int], list[tuple[int, Window]]] = {}
    for view in views:
        by_size.setdefault(view[1].size_wh, []).append(view)
    for same in by_size.values():
        for start in range(0, len(same), count):
            yield same[start : start + count]


def _class_indices(
    names: dict[int, str], wanted: tuple[str, ...], path: Path
) -> tuple[int, ...] | None:
    """Return the indices of the wanted class names, or None for all."""
    if not wanted:
        return None
    known = {name.lower(): index for index, name in names.items()}
    for name in wanted:
        if name.lower() not in known:
            raise DetectorError(
                f"{path.name} has no class {name!r}: "
                f"set classes to some of {', '.join(names.values())}"
            )
    return tuple(sorted(known[name.lower()] for name in wanted))


def _load_model(path: Path, header: OnnxHeader | None, *, trust_pickle: bool) -> Any:
    with _isolated_ultralytics() as ultralytics:
        if header is not None:
            return ultralytics.YOLO(str(path.resolve()), task=header.task)
        if trust_pickle:
            return _load_trusted(ultralytics, path)
        try:
            checkpoint = read_checkpoint(path)
            _check_task(path, OTHER_TASKS.get(checkpoint.kind, TASKS[0]))
            return build_model(checkpoint)
        except CheckpointError as error:
            why = str(error)[:300]
            raise DetectorError(
                f"{path} is not a YOLO checkpoint that can be loaded safely: {why}. Export it to "
                "ONNX (yolo export format=onnx model=...) where it was made; or set trust_pickle "
                "if you trust its maker, for then it can run any code"
            ) from error


def _check_task(path: Path, task: str) -> None:
    if task not in TASKS:
        raise DetectorError(
            f"{path.name} is a model for the task {task!r}: use one for {' or '.join(TASKS)}"
        )


def _load_trusted(ultralytics: Any, path: Path) -> Any:
    from ultralytics.nn import tasks

    with patch_attribute(tasks, "SAFE_LOAD", False), _plainly_named(path) as plain:
        try:
            return ultralytics.YOLO(str(plain))
        except (*_LOAD_ERRORS, pickle.UnpicklingError, EOFError) as error:
            why = str(error.__cause__ or error).strip()
            raise DetectorError(
                f"{path} is not a YOLO checkpoint that can be loaded: {why}"
            ) from error


@contextmanager
def _isolated_ultralytics() -> Generator[Any, None, None]:
    """Yield ultralytics; inside this block it installs, sends and changes nothing."""
    with _LOCK, process_untouched(_quiet_environment()):
        first_import = "ultralytics" not in sys.modules
        try:
            import ultralytics
        except ImportError as error:
            raise DetectorError(
                f"YOLO models need ultralytics, which cannot be imported ({error}): "
                "pip install ultralytics"
            ) from error
        from ultralytics.nn import tasks
        from ultralytics.utils import checks, downloads, events

        events.events.enabled = False
        if first_import:  # otherwise the program around us has its own settings
            tasks.SAFE_LOAD = True
            downloads.safe_download = _refuse_download
            log = logging.getLogger("ultralytics")
            log.handlers.clear()  # they write to stdout, which is for a command's results
            log.propagate = True
            log.setLevel(logging.WARNING)
        with (
            patch_attribute(checks, "AUTOINSTALL", False),
            patch_attribute(tasks, "SAFE_LOAD", True),
            patch_attribute(downloads, "safe_download", _refuse_download),
        ):
            yield ultralytics


def _quiet_environment() -> dict[str, str]:
    """Variables that ultralytics reads on import: no reports, no pip, a folder for its files."""
    if "ultralytics" in sys.modules or "YOLO_CONFIG_DIR" in os.environ:
        folder = os.environ.get("YOLO_CONFIG_DIR", "")
    else:
        folder = tempfile.mkdtemp(prefix="autofix-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    calm = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
    return calm | ({"YOLO_CONFIG_DIR": folder} if folder else {})


def _refuse_download(*args: object, **kwargs: object) -> NoReturn:
    """Replaces ultralytics' downloads, which a model file could ask for."""
    raise ConnectionError(f"a model asks for a download, which is off: {args or kwargs}")


@contextmanager
def _plainly_named(path: Path) -> Generator[Path, None, None]:
    """Yield a path to the file that ultralytics takes unchanged.

    It drops apostrophes and outer spaces from paths, renames yolov3 and yolov5 files, and then
    tries to download the file of that other name.
    """
    path = path.resolve()
    odd = "'" in str(path) or "yolov3" in str(path) or "yolov5" in str(path)
    if not odd and str(path) == str(path).strip():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="autofix-") as folder:
        yield Path(shutil.copyfile(path, Path(folder) / "model.pt"))
