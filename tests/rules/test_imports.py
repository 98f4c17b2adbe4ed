"""The import rules of the house, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("autofix", "detectors", "weights")
HEAVY = ("torch", "cv2", "diffusers", "transformers", "ultralytics", "mediapipe")


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


def _imports(tree: ast.AST, *, type_checking: bool = False) -> set[str]:
    """Every module a tree imports, wherever in the file; those for type checkers only on demand."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if (
            isinstance(node, ast.If)
            and "TYPE_CHECKING" in ast.unparse(node.test)
            and not type_checking
        ):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys()
            if names - MODULES.keys():  # else only submodules were taken, none of its own names
                found.add(node.module or "")
        else:
            found |= _imports(node, type_checking=type_checking)
    return found


IMPORTS = {
    name: _imports(ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()
}


def importers(*targets: str) -> set[str]:
    """Modules that import one of the targets, or something inside it."""
    return {
        name
        for name, imported in IMPORTS.items()
        for one in imported
        for target in targets
        if one == target or one.startswith(f"{target}.")
    }


def within(*places: str) -> set[str]:
    return {n for n in MODULES for place in places if n == place or n.startswith(f"{place}.")}


LAYERS = (
    ("detectors", "weights"),
    ("autofix.errors", "autofix.geometry"),
    ("autofix.values",),
    ("autofix.settings",),
    ("autofix.imaging",),
    ("autofix.imagefiles", "autofix.records"),
    ("autofix.metadata",),
    ("autofix.prompts",),
    ("autofix.engines",),
    ("autofix.stages",),
    ("autofix.pipeline",),
    ("autofix.fixer",),
    ("autofix.frontends",),
    ("autofix.cli",),
    ("autofix.__main__",),
)
"""From the lowest up. Each imports what stands below it, and nothing beside it."""


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(layer):
    below = within(*(each for lower in LAYERS[: LAYERS.index(layer)] for each in lower))
    for package in layer:
        own = within(package)
        for name in own:
            assert IMPORTS[name] & MODULES.keys() <= own | below, name


def test_every_module_has_its_layer():
    assert MODULES.keys() == within("autofix", *(each for layer in LAYERS for each in layer))
    assert within("autofix") - within(*(each for layer in LAYERS for each in layer)) == {"autofix"}


@pytest.mark.parametrize(
    ("targets", "places"),
    [
        (["weights"], ["weights", "autofix.pipeline.toolbox", "autofix.cli"]),
        (["diffusers", "transformers"], ["autofix.engines"]),
        (["ultralytics"], ["detectors.yolo"]),
        (["spandrel", "spandrel_extra_arches"], ["autofix.engines.restoration.spandrel_files"]),
        (["mediapipe"], ["detectors.mp_task", "detectors.mp_windows"]),
        (["huggingface_hub"], ["autofix.engines.hub", "weights"]),
        (["click", "tqdm"], ["autofix.cli"]),
        (["autofix.stages"], ["autofix.pipeline", "autofix.fixer"]),
        (
            ["autofix.pipeline.toolbox"],
            ["autofix.pipeline", "autofix.fixer", "autofix.cli"],
        ),
        (["autofix.engines.diffusion.engine"], ["autofix.pipeline.toolbox", "autofix.cli.doctor"]),
    ],
)
def test_is_imported_only_from(targets, places):
    assert importers(*targets) <= within(*places)


def test_stages_do_not_know_each_other():
    for stage in within("autofix.stages") - {"autofix.stages"}:
        assert not importers(stage) & within("autofix.stages")


def test_nothing_imports_its_own_package_root():
    for name, imported in IMPORTS.items():
        assert not imported & {"autofix", "detectors", "weights"}, name


def test_there_is_no_import_cycle():
    resolved = {
        name: {one for one in imported if one in MODULES} for name, imported in IMPORTS.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for one in sorted(resolved[name]):
                visit(one, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_only_the_command_line_prints_and_exits():
    for name in MODULES.keys() - within("autofix.cli"):
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "quit"), name


def test_only_the_frontends_and_what_makes_a_batch_forgive_everything():
    forgiving = ("autofix.frontends", "autofix.engines.resilient", "autofix.pipeline.batcher")
    for name in MODULES.keys() - within(*forgiving):
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and ast.unparse(node.body[-1]) != "raise":
                caught = "everything" if node.type is None else ast.unparse(node.type)
                assert caught not in ("everything", "Exception", "BaseException"), name


def test_every_public_name_has_its_contract():
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), name
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}.{node.name}"


@pytest.mark.parametrize(
    "code",
    [
        "import autofix",
        "import autofix.settings.recipe, weights.store, weights.environment",
        "import detectors.registry",
        "import sys; sys.argv = ['autofix', '--help']\n"
        "from autofix.cli import group\n"
        "group.main(prog_name='autofix', standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    check = f"\nimport sys\nloaded = {set(HEAVY)!r} & sys.modules.keys()\nassert not loaded, loaded"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_public_names_are_these():
    import autofix

    assert autofix.__all__ == sorted(autofix.__all__)
    assert {name: getattr(autofix, name).__name__ for name in autofix.__all__} == {
        name: name for name in autofix.__all__
    }
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = autofix.nonsense
