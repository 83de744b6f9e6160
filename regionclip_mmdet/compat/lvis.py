# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Let lvis 0.5.3 run on NumPy without ``np.float``."""

import importlib
from types import ModuleType


class _NumpyWithFloat(ModuleType):
    """NumPy, plus the alias ``float`` that NumPy 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> object:
        import numpy as np

        return getattr(np, name)


def provide_numpy_float() -> None:
    """Give lvis' evaluation a NumPy that has ``float``; nothing happens without lvis."""
    import numpy as np

    try:
        evaluation = importlib.import_module('lvis.eval')
    except ImportError:
        return
    # ``in vars`` because merely asking NumPy for the alias emits a warning.
    if evaluation.np is np and 'float' not in vars(np):
        evaluation.np = _NumpyWithFloat('numpy')
