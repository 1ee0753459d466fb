"""What ``pip install .`` gives: ``duro`` and ``duroctl``, whole, and nothing else at the top level."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that no build directory of the checkout slips in."""
    sources = tmp_path_factory.mktemp("sources")
    for name in ("duroctl", "runtime", "pyproject.toml", "README.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, sources / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build"))
        else:
            shutil.copy(source, sources / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(sources)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_duro_and_duroctl_and_nothing_else_at_the_top(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"duro", "duroctl"}


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, source in (("duro", ROOT / "runtime" / "duro"), ("duroctl", ROOT / "duroctl")):
        for path in source.rglob("*"):
            if path.suffix in {".py", ".sql", ".toml", ".json"} or path.name == "py.typed":
                assert f"{package}/{path.relative_to(source).as_posix()}" in names


def test_the_installed_wheel_runs_init_and_demo(wheel: Path, tmp_path: Path) -> None:
    """Away from the checkout, with nothing but the wheel's own files and its dependencies."""
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    work, tree = tmp_path / "work", tmp_path / "tree"
    work.mkdir()
    tree.mkdir()
    (tree / "a.txt").write_text("a")
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import duroctl.__main__ as m; sys.exit(m.main())"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DUROCTL_", "PYTHON"))}
    for arguments in (["init"], ["instances", "list"], ["demo", str(tree), "--executions", "4"]):
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=work, env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
    assert (work / "duro.db").exists()
    assert (work / "runtime_config.toml").exists()
