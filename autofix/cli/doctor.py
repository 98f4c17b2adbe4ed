"""autofix doctor: would a run work here?"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import platform
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from autofix.errors import AutofixError
from detectors.isolation import light_imports

if TYPE_CHECKING:
    from autofix.engines.base import ModelInfo
    from autofix.pipeline.toolbox import Toolbox

LIBRARIES = {
    "libxcb.so.1": "libxcb1",
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
}
"""What a bare Debian lacks: system libraries that importing opencv (the first four) and opening a
MediaPipe task (the others) load -> the Debian packages that hold them."""

NEEDED = ("cv2", "mediapipe", "torch")
"""Modules that every run imports, the quickest to fail first."""

OWN_PACKAGES = ("autofix", "detectors", "weights")
"""What autofix installs."""

PACKAGES = ("torch", "diffusers", "transformers", "ultralytics", "mediapipe", "pillow", "numpy")
"""Whose versions are printed."""


@click.command()
@click.option("--model", metavar="NAME|DIR|FILE|ID", help="Look at this model; loads no weights.")
@click.option("--revision", metavar="NAME", help="Hub id: its branch, tag or commit.")
@click.option("--trust-pickle", is_flag=True, help="Look into a model file that can run code.")
def command(model: str | None, revision: str | None, trust_pickle: bool) -> int:
    """Versions, device, memory, model files, what would run. Exit 0 if a run would work."""
    asked = {"name": model, "revision": revision, "trust_pickle": trust_pickle or None}
    changes = {f"model.{key}": value for key, value in asked.items() if value is not None}
    click.echo(
        f"autofix {importlib.metadata.version('autofix')}, Python {platform.python_version()}"
    )
    click.echo("  ".join(_package_versions()))
    problems = list(foreign_package_problems())
    unusable = next(filter(None, map(_import_problem, NEEDED)), None)
    problems += _find_problems(changes) if unusable is None else [unusable]
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
    click.echo("a run would work" if not problems else "a run would not work")
    return 2 if problems else 0


def foreign_package_problems() -> Iterator[str]:
    """Tell which distributions have installed files into autofix's own packages."""
    owners = importlib.metadata.packages_distributions()
    for package in OWN_PACKAGES:
        for owner in sorted({*owners.get(package, ())} - {"autofix"}):
            yield (
                f"{package} of another distribution is in the way: pip uninstall {owner}, then "
                "install autofix again"
            )


def missing_library(error: Exception) -> str | None:
    """The missing system libraries, and the command that installs them all.

    None if the error is not about a missing system library. opencv raises ImportError, ctypes
    OSError, and an AutofixError may quote either.
    """
    match = re.search(r"(?<![\w/.-])(lib[\w.+-]+\.so[.\d]*): cannot open shared object", str(error))
    if match is None:
        return None
    # The loader names only the first missing library; the advice should name all.
    missing = [match[1], *(name for name in LIBRARIES if name != match[1] and is_absent(name))]
    packages = dict.fromkeys(LIBRARIES[name] for name in missing if name in LIBRARIES)
    advice = f"apt-get install -y {' '.join(packages)}" if packages else ""
    if match[1] not in LIBRARIES:
        advice = " and ".join(filter(None, [f"the package that holds {match[1]}", advice]))
    return f"system libraries are missing: {', '.join(missing)}; install them as root: {advice}"


def is_absent(library: str) -> bool:
    """Whether the loader does not find a system library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return True
    return False


def _package_versions() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{package} missing"


def _import_problem(module: str) -> str | None:
    try:
        with light_imports():
            importlib.import_module(module)
    except (ImportError, OSError) as error:
        return missing_library(error) or f"{module} cannot be imported: {error}; install it again"
    return None


def _find_problems(changes: Mapping[str, object]) -> Iterator[str]:
    """Open what the default recipe needs, with these changes; print it, and yield problems."""
    from autofix.pipeline.toolbox import Toolbox
    from autofix.settings.recipe_toml import load_recipe

    with Toolbox(load_recipe("face").override(changes)) as toolbox:
        for look in (_device_line, _weights_lines, _model_lines, _detectors_line):
            try:
                click.echo(look(toolbox))
            except AutofixError as error:
                yield missing_library(error) or str(error)


def _device_line(toolbox: Toolbox) -> str:
    import torch

    from autofix.engines.devices import device_and_dtype

    device, dtype = device_and_dtype(toolbox.recipe.device)
    return f"device {device}, {dtype}, {torch.get_num_threads()} threads{_memory_text(device)}"


def _weights_lines(toolbox: Toolbox) -> str:
    return "\n".join(
        f"weights: {status.name} {status.state}" for status in toolbox.store.verify_all()
    )


def _model_lines(toolbox: Toolbox) -> str:
    from autofix.engines.diffusion.steps import plan_of

    info = toolbox.info
    lines = [f"model: {info.name} {info.identity}"]
    if info.family:
        lines.append(f"family: {info.family}")
    lines.append(f"native size: {info.size.native} px, in steps of {info.size.multiple}")
    lines.append(f"latents: 1/{info.scale} of the picture's side, predicts {info.prediction}")
    readers = " + ".join(info.encoders) or "its own text encoders"
    lines.append(f"prompts: {readers if info.reads_prompt else 'not read'}")
    sampler = "its own sampler" if info.sampler == "auto" else info.sampler
    lines.append(
        f"auto means: strength {_strengths_text(info)}, {info.steps} steps, "
        f"CFG scale {info.cfg:g}, {sampler}"
    )
    strength = max(value for _, value in info.tuned)
    done = plan_of(strength, toolbox.recipe.sampling, info).done
    how = "as A1111 counts" if info.step_count == "a1111" else "strength x steps"
    lines.append(f"strength {strength:g} of {info.steps} steps is {done} denoising steps ({how})")
    return "\n  ".join(lines)


def _strengths_text(info: ModelInfo) -> str:
    """The tuned strengths as text: 0.4, or 0.5 at 24 px, 0.3 at 96 px."""
    if len(info.tuned) == 1:
        return f"{info.tuned[0][1]:g}"
    return ", ".join(f"{strength:g} at {px:g} px" for px, strength in info.tuned)


def _detectors_line(toolbox: Toolbox) -> str:
    with toolbox.detectors() as detectors:
        return f"detectors: {', '.join(detector.name for detector in detectors)}"


def _memory_text(device: str) -> str:
    import torch

    if not device.startswith("cuda"):
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f", {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
