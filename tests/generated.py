"""The files that are generated: from the table of settings, from duroctl, and from the table of JSON documents. Run
as a program it writes them."""

from pathlib import Path
from typing import Final

from duro.settings.documents import default_file, reference_page, schema_text
from tests.cli_reference import reference
from tests.json_documents import DOCUMENTS, SHARED
from tests.json_schemas import file_text, index

ROOT: Final = Path(__file__).parents[1]
SCHEMAS: Final = ROOT / "docs" / "schemas"


def generated_files() -> dict[Path, str]:
    """What each of them must hold."""
    return {
        ROOT / "config" / "runtime_config.toml": default_file(),
        ROOT / "config" / "runtime_config.schema.json": schema_text(),
        ROOT / "docs" / "configuration.md": reference_page(),
        ROOT / "docs" / "cli.md": reference(),
        SCHEMAS / "README.md": index(DOCUMENTS),
        **{SCHEMAS / each.file: file_text(each, SHARED) for each in DOCUMENTS if each.body is not None},
    }


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for path, text in generated_files().items():
        path.write_text(text, encoding="utf-8")
