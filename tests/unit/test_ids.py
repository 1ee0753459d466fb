"""Ids: 128 random bits, drawn several at once."""

import os
import re
import threading

from duro.stores.opening import new_id


def test_ids_are_32_hex_digits_and_never_the_same() -> None:
    drawn: list[str] = []
    threads = [threading.Thread(target=lambda: drawn.extend(new_id() for _ in range(1000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in drawn)
    assert len(set(drawn)) == len(drawn) == 4000


def test_a_forked_child_draws_ids_of_its_own() -> None:
    new_id()  # some are ready now, and the child has a copy of them
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(new_id() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    of_child = set(os.read(reading, 10_000).decode().split())
    os.close(reading)
    os.close(writing)
    assert len(of_child) == 100
    assert not of_child & {new_id() for _ in range(200)}
