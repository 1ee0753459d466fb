"""The files that are generated from the table of settings and from duroctl; run as a program it writes them."""

from pathlib import Path
from typing import Final

from duro.settings.documents import default_file, reference_page, schema_text
from tests.cli_reference import reference

ROOT: Final = Path(__file__).parents[1]


def generated_files() -> dict[Path, str]:
    """What each of them must hold."""
    return {
        ROOT / "config" / "runtime_config.toml": default_file(),
        ROOT / "config" / "runtime_config.schema.json": schema_text(),
        ROOT / "docs" / "configuration.md": reference_page(),
        ROOT / "docs" / "cli.md": reference(),
    }


if __name__ == "__main__":
    for path, text in generated_files().items():
        path.write_text(text, encoding="utf-8")
