# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Threads that build from configs leave each other's scope alone."""

from __future__ import annotations

import threading
import time

from mmengine.registry import DefaultScope

from regionclip_mmdet.default_scope import default_scope


def current_scope() -> str | None:
    current = DefaultScope.get_current_instance()
    return None if current is None else current.scope_name


def test_threads_keep_their_scope() -> None:
    before = current_scope()
    found: list[str] = []
    errors: list[BaseException] = []

    def build(name: str) -> None:
        try:
            for _ in range(20):
                with default_scope(name):
                    time.sleep(0.0005)  # another thread gets its turn
                    found.append(f'{name} {current_scope()}')
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=build, args=(f'scope{i}',)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(set(found)) == [f'scope{i} scope{i}' for i in range(4)] and len(found) == 80
    assert current_scope() == before
