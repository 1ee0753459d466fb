"""Which store is found, and what is said about configuration files that cannot be used."""

from pathlib import Path

import pytest

from duro.errors import StoreNotFoundError
from duroctl.discovery import find_store, read_config
from duroctl.errors import ConfigFileError

CONFIG = '[store]\nurl = "{}"\n'


def _write(path: Path, url: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIG.format(url))
    return path


def test_flags_win_over_the_environment_and_the_environment_over_files(tmp_path: Path) -> None:
    _write(tmp_path / "runtime_config.toml", "sqlite:///here.db")
    _write(tmp_path / "config" / "runtime_config.toml", "sqlite:///config.db")
    _write(tmp_path / "xdg" / "duro" / "runtime_config.toml", "sqlite:////user.db")
    _write(tmp_path / "named.toml", "sqlite:////named.db")
    _write(tmp_path / "env.toml", "sqlite:////env.db")
    environment = {
        "DUROCTL_STORE": "sqlite:///env-store.db",
        "DUROCTL_CONFIG": "env.toml",
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
    }

    def found(store: str | None = None, config: str | None = None) -> tuple[str, str]:
        return tuple(find_store(store, config, environment, tmp_path))  # type: ignore[return-value]

    assert found("sqlite:///flag.db", "named.toml") == ("sqlite:///flag.db", "--store")
    assert found(None, "named.toml") == ("sqlite:////named.db", "named.toml")
    assert found() == ("sqlite:///env-store.db", "DUROCTL_STORE")
    del environment["DUROCTL_STORE"]
    assert found() == ("sqlite:////env.db", "env.toml")
    del environment["DUROCTL_CONFIG"]
    assert found() == ("sqlite:///here.db", "runtime_config.toml")
    (tmp_path / "runtime_config.toml").unlink()
    assert found() == (f"sqlite:///{tmp_path}/config/config.db", "config/runtime_config.toml")
    (tmp_path / "config" / "runtime_config.toml").unlink()
    assert found()[0] == "sqlite:////user.db"


def test_the_user_directory_is_below_home_unless_xdg_names_an_absolute_one(tmp_path: Path) -> None:
    _write(tmp_path / "home" / ".config" / "duro" / "runtime_config.toml", "sqlite:///mine.db")
    environment = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": "relative"}
    choice = find_store(None, None, environment, tmp_path)
    assert choice.url == f"sqlite:///{tmp_path}/home/.config/duro/mine.db"


def test_nothing_found_says_how_to_make_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="duroctl init") as caught:
        find_store(None, None, {}, tmp_path)
    assert caught.value.exit_code == 10


def test_a_file_without_a_store_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "runtime_config.toml").write_text("# nothing\n")
    _write(tmp_path / "config" / "runtime_config.toml", "memory:")
    assert find_store(None, None, {}, tmp_path) == ("memory:", "config/runtime_config.toml")


@pytest.mark.parametrize("origin", ["--config", "DUROCTL_CONFIG"])
def test_a_named_file_that_is_absent_is_an_error(tmp_path: Path, origin: str) -> None:
    config = "no.toml" if origin == "--config" else None
    environment = {} if config else {origin: "no.toml"}
    with pytest.raises(ConfigFileError, match=f"'no.toml' \\({origin}\\) does not exist"):
        find_store(None, config, environment, tmp_path)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ('[store]\nurl = "sqlite:///a.db\n', "f:2:"),
        ("[store\n", "f:1:7: "),
        ("[store]\nurl = 5\n", "f:2:1: [store] url is not a text"),
        ('[store]\nurl = ""\n', "f:2:1: [store] url is not a text"),
        ("# c\n  [stroe]\n", "f:2:4: unknown key 'stroe'"),
        ('[store]\n\nulr = "x"\n', "f:3:1: unknown key 'ulr' in [store]"),
        ('store = "x"\n', "f:1:1: store is not a table"),
        ('[store]\n"url" = [1]\n', "f:2:1: [store] url is not a text"),
        ("n = " + "9" * 5000, "f:1:1: "),
        ("a = " + "[" * 50_000, "f:1:"),
        ("[store]\nurl = ", "f:2:7: "),
    ],
)
def test_a_broken_file_is_reported_with_its_place(tmp_path: Path, text: str, begin: str) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    with pytest.raises(ConfigFileError) as caught:
        read_config(path, "f")
    assert caught.value.message.startswith(begin)
    assert caught.value.exit_code == 6


def test_a_file_that_is_no_utf8_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"[store]\n# \xff\n")
    with pytest.raises(ConfigFileError, match="f:2:3: it is not UTF-8 text"):
        read_config(path, "f")


def test_a_directory_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="f: it cannot be read: Is a directory"):
        read_config(tmp_path, "f")


def test_the_shipped_template_and_the_repository_file_are_the_same_and_are_read() -> None:
    import duroctl

    root = Path(duroctl.__file__).parent
    shipped = root / "runtime_config.toml"
    assert shipped.read_text() == (root.parent / "config" / "runtime_config.toml").read_text()
    assert read_config(shipped, "f") == "sqlite:///duro.db"
