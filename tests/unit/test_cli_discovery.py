"""Which store is found, and what is said about configuration files that cannot be used."""

from pathlib import Path

import pytest

from duro.errors import SettingsError, StoreNotFoundError
from duroctl.discovery import find_config, find_store, read_config

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
    with pytest.raises(SettingsError, match=f"no.toml: this configuration file \\({origin}\\) does not exist"):
        find_store(None, config, environment, tmp_path)


@pytest.mark.parametrize("place", ["runtime_config.toml", "config/runtime_config.toml", "xdg/duro/runtime_config.toml"])
def test_a_link_to_a_file_that_is_gone_is_not_passed_over(tmp_path: Path, place: str) -> None:
    """Whoever goes on without it removes what it may keep, and archives nothing."""
    link = tmp_path / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("gone.toml")
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find_config(None, environment, tmp_path) == link
    with pytest.raises(SettingsError) as raised:
        find_store(None, None, environment, tmp_path)
    assert str(raised.value) == (
        f"{place}: it is a symbolic link to 'gone.toml', which does not exist; "
        "put a file there, or let the link name one that is there"
    )


def test_a_broken_file_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("[store]\nurl = 5\n")
    with pytest.raises(SettingsError, match=r"f:2:7: \[store\] url must be a text") as caught:
        read_config(path, "f")
    assert caught.value.exit_code == 6


def test_the_default_file_names_a_store_beside_it() -> None:
    root = Path(__file__).parents[2]
    assert read_config(root / "config" / "runtime_config.toml", "f") == "sqlite:///duro.db"
