"""The public surface is ``duro.__init__`` and nothing else."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import duro
from duro import errors


def test_every_public_name_is_there_and_listed_once() -> None:
    assert duro.__all__ == sorted(duro.__all__, key=duro.__all__.index)
    assert len(set(duro.__all__)) == len(duro.__all__)
    for name in duro.__all__:
        assert getattr(duro, name) is not None
    assert dir(duro) == sorted(duro.__all__)


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse(Path(duro.__file__).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        (alias.name, node.module)
        for node in ast.walk(checked)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {(name, module) for module, names in duro._HOMES.items() for name in names}
    assert imported == homes
    assert {name for name, _ in homes} == set(duro.__all__)


def test_importing_duro_alone_is_cheap() -> None:
    """A program pays for what it uses: neither asyncio nor a store comes with the bare import."""
    code = "import sys, duro; print(sorted({'asyncio', 'apsw', 'msgspec', 'typer', 'rich'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = "import duro\ntry:\n    duro.nothing\nexcept AttributeError as error:\n    print(error)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "module 'duro' has no attribute 'nothing'"


def test_every_error_is_public() -> None:
    named = {name: each for name, each in vars(errors).items() if isinstance(each, type)}
    assert {name for name, each in named.items() if issubclass(each, duro.DuroError)} <= set(duro.__all__)


def test_what_the_documents_name_is_there() -> None:
    root = Path(__file__).parents[2]
    documents = [root / "README.md", *(root / "docs").glob("*.md")]
    named = {name for each in documents for name in re.findall(r"\bduro\.([A-Z]\w+)", each.read_text())}
    assert named - set(duro.__all__) == set()
