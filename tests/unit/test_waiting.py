"""Whom a waiting client asks about, and when."""

from collections.abc import Callable, Sequence

from duro.waiting import FinishNotifier, Waiting


def test_all_are_asked_about_at_first() -> None:
    assert Waiting(["a", "b", "a"]).to_ask((1,), 0.0) == ["a", "b"]


def test_nothing_is_asked_while_nothing_was_committed() -> None:
    waiting = Waiting(["a"])
    waiting.to_ask((1,), 0.0)
    waiting.answered(1, [], took_s=0.0, now_s=0.0)
    assert waiting.to_ask((1,), 100.0) == []
    assert waiting.to_ask((2,), 100.0) == ["a"]


def test_those_that_ended_here_are_asked_about_at_once_and_the_others_when_it_is_worth_it() -> None:
    waiting = Waiting(["a", "b", "c"])
    waiting.to_ask((1,), 0.0)
    waiting.answered(3, [], took_s=0.5, now_s=1.0)
    waiting.tell(["c", "nobody waits for this"])
    assert waiting.to_ask((2,), 1.1) == ["c"]
    waiting.answered(1, ["c"], took_s=0.1, now_s=1.2)
    assert waiting.pending == ["a", "b"]
    assert waiting.to_ask((2,), 5.9) == []
    assert waiting.to_ask((2,), 6.0) == ["a", "b"]


def test_what_has_ended_is_not_asked_about_again() -> None:
    waiting = Waiting(["a", "b"])
    waiting.to_ask((1,), 0.0)
    waiting.answered(2, ["a"], took_s=0.0, now_s=0.0)
    waiting.tell(["a"])
    assert waiting.to_ask((1,), 0.0) == []
    assert waiting.to_ask((2,), 0.0) == ["b"]


def test_a_watcher_is_told_once_of_all_its_instances_that_ended() -> None:
    notifier, heard = FinishNotifier(), list[tuple[str, ...]]()
    with notifier.watch(["a", "b", "a"], lambda ended: heard.append(("first", *ended))):
        with notifier.watch(["b"], lambda ended: heard.append(("second", *ended))):
            notifier.finished(["a", "b", "c"])
        notifier.finished(["b"])
    notifier.finished(["a"])
    assert heard == [("first", "a", "b"), ("second", "b"), ("first", "b")]


def test_of_several_watchers_of_an_instance_each_is_told_until_it_waits_no_more() -> None:
    told: list[tuple[str, list[str]]] = []

    def watcher(name: str) -> Callable[[Sequence[str]], None]:
        return lambda ended: told.append((name, list(ended)))

    notifier = FinishNotifier()
    with notifier.watch(["a", "b"], watcher("first")):
        with notifier.watch(["a"], watcher("second")):
            with notifier.watch(["a"], watcher("third")):
                notifier.finished(["a", "b"])
                assert sorted(told) == [("first", ["a", "b"]), ("second", ["a"]), ("third", ["a"])]
                told.clear()
            notifier.finished(["a"])
            assert sorted(told) == [("first", ["a"]), ("second", ["a"])]
            told.clear()
        notifier.finished(["b", "a"])
        assert told == [("first", ["b", "a"])]
        told.clear()
    notifier.finished(["a", "b"])
    assert told == []
