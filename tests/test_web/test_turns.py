# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Who computes next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from demo.web.turns import Turns


def start(turns: Turns, job: Callable[[], None]) -> threading.Thread:
    """A thread that has begun to wait for its turn when this returns."""
    before = turns.waiting

    def run() -> None:
        with turns.take():
            job()

    thread = threading.Thread(target=run)
    thread.start()
    while turns.waiting == before:
        time.sleep(0.001)
    return thread


def test_first_come_first_served() -> None:
    turns, order = Turns(), []
    with turns.take():
        threads = [start(turns, lambda i=i: order.append(i)) for i in range(8)]
        assert order == []
    for thread in threads:
        thread.join()
    assert order == list(range(8)) and turns.waiting == 0
    with turns.take():  # free again
        order.append('again')


def test_a_long_turn_lets_others_go_first() -> None:
    now, order = [0.0], []
    turns = Turns(seconds=1.0, clock=lambda: now[0])
    with turns.take():
        threads = [start(turns, lambda i=i: order.append(i)) for i in range(3)]
        now[0] = 0.9
        turns.offer()
        assert order == []  # it has not lasted long yet
        now[0] = 1.1
        turns.offer()
        assert order == [0, 1, 2]  # all that waited; its own time begins anew
        threads.append(start(turns, lambda: order.append(3)))
        turns.offer()
        assert order == [0, 1, 2]
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]


def test_an_error_gives_the_turn_back() -> None:
    turns, told = Turns(seconds=0), []
    with pytest.raises(ZeroDivisionError), turns.take(lambda: told.append('waits')):
        raise ZeroDivisionError
    with turns.take():
        thread = start(turns, lambda: None)
        with pytest.raises(ZeroDivisionError):
            turns.offer(lambda: 1 / 0)  # its visitor has gone; it still has the turn
        errors = []

        def leave() -> None:
            try:
                with turns.take(lambda: 1 / 0):
                    told.append('taken')
            except ZeroDivisionError as error:
                errors.append(error)

        gone = threading.Thread(target=leave)
        gone.start()
        gone.join()
    thread.join()
    with turns.take():
        assert len(errors) == 1 and told == []
