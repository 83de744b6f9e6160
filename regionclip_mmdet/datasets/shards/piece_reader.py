# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading pieces of many files."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any


class PieceReader:
    """Reads bytes at offsets; keeps the files open that were read last.

    Reading moves no file position, so processes forked from this one may use the same open files.

    Args:
        max_open: Number of files kept open.
    """

    def __init__(self, max_open: int = 64) -> None:
        self.max_open = max_open
        self._handles: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str, offset: int, length: int) -> bytes:
        """A piece of a file.

        Raises:
            OSError: The file cannot be read, or ends before.
        """
        handle = self._handles.get(path)
        if handle is None:
            handle = os.open(path, os.O_RDONLY | getattr(os, 'O_CLOEXEC', 0))
            self._handles[path] = handle
        else:
            self._handles.move_to_end(path)
        try:
            content = os.pread(handle, length, offset)
            while len(content) < length:  # one call gives 2 GiB at most
                more = os.pread(handle, length - len(content), offset + len(content))
                if not more:
                    raise OSError(
                        f'{path} ends before byte {offset + length}: it was changed after it was '
                        'indexed, or is being changed.'
                    )
                content += more
        finally:
            while len(self._handles) > self.max_open:
                os.close(self._handles.popitem(last=False)[1])
        return content

    def close(self) -> None:
        """Close all files."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return {'max_open': self.max_open}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __del__(self) -> None:
        if getattr(self, '_handles', None):
            self.close()
