"""`import autofix`: what it refuses to be imported with."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def import_beside(folder):
    """Import autofix where `folder` comes first on the path."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", "import autofix"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("package", ["detectors", "weights"])
def test_package_of_another_distribution_is_told_in_one_line(tmp_path, package):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise SystemExit('it was imported')")
    done = import_beside(tmp_path)
    message = (
        f"ImportError: {package} of another distribution is in the way: pip uninstall {package}"
    )
    assert message in done.stderr.splitlines()[-1]
    assert str(tmp_path) in done.stderr.splitlines()[-1]


def test_folder_that_is_no_package_is_in_nobodys_way(tmp_path):
    (tmp_path / "weights").mkdir()
    done = import_beside(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
