# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the page shows instead of an answer; gradio is not needed."""

from __future__ import annotations

import pytest

from demo.web import UserError, values


def test_a_fault_of_ours_is_a_message_and_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(values, 'print_log', lambda text, *_: logged.append(text))
    banner, picture, *rest = values.safely(lambda: 1 / 0)
    assert 'Something went wrong' in banner and 'ZeroDivision' not in banner
    assert picture is None and rest == [[], [], None]
    assert 'ZeroDivisionError' in logged[0] and logged[0].split()[1] in banner


def test_what_a_visitor_typed_is_no_html() -> None:
    def refuse() -> list:
        raise UserError('no name in "<img src=x onerror=alert(1)>"')

    banner = values.safely(refuse)[0]
    assert 'rc-error' in banner and 'role="alert"' in banner
    assert '<img' not in banner and '&lt;img src=x' in banner
