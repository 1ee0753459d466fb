"""What is left of a store URL in errors and notes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import duro
from duro.errors import StoreUrlError
from duro.redacting import redacted
from tests.support.fuzzing import fuzz

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:s3cret@host/db", "postgresql://...@host/db"),
        ("postgresql://user:s3cr@et@host:5432/db", "postgresql://...@host:5432/db"),
        ("postgresql://user:s3/cret@host/db", "postgresql://...@host/db"),
        ("postgresql://host/db?user=me&password=s3cret", "postgresql://..."),
        ("postgresql://user:s3?cret@host/db", "postgresql://..."),
        ("postgresql://user:s3#cret@host/db", "postgresql://..."),
        ("postgresql:user:s3cret@host", "postgresql:...@host"),
        ("user:s3cret@host", "user:...@host"),
        ("sqlite://user:s3cret@host/db", "sqlite://...@host/db"),
        ("sqlite:///a?b@c#d.db", "sqlite:///a?b@c#d.db"),
        ("sqlite:////var/lib/duro/duro.db", "sqlite:////var/lib/duro/duro.db"),
        ("memory:", "memory:"),
        ("duro.db", "duro.db"),
        ("", ""),
    ],
)
def test_what_may_be_a_secret_is_left_out_and_the_rest_stays(url: str, shown: str) -> None:
    assert redacted(url) == shown


awkward = st.text("s3cret@:/?#&=.%[] é", min_size=1, max_size=12)


@fuzz()
@given(st.sampled_from(["postgresql", "mysql+x", "sqlite", "x"]), st.sampled_from([":", ":/", "://"]), awkward, awkward)
def test_no_password_is_repeated_whatever_characters_it_has(scheme: str, colon: str, before: str, after: str) -> None:
    url = f"{scheme}{colon}user:{before}{SECRET}{after}@host/db"
    assert SECRET not in redacted(url)
    with pytest.raises(StoreUrlError) as caught:
        duro.open_store(url)
    assert SECRET not in str(caught.value)


def test_a_url_of_another_type_is_not_repeated_at_all() -> None:
    with pytest.raises(StoreUrlError, match="named by a URL or a path, not by something of type bytes") as caught:
        duro.open_store(b"postgresql://user:s3cret@host/db")  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)
