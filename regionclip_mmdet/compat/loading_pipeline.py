# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Let mmdet's ``get_loading_pipeline`` see loaders that derive from the stock ones.

mmdet's ``analyze_results.py`` and ``confusion_matrix.py`` keep the loaders of a pipeline by it,
told by identity, so that a config with ``LoadImageChecked`` had none.
"""

from __future__ import annotations


class _StockKinds:
    """Answers like a registry of transforms, with the stock loader that a class derives from."""

    def __init__(self, registry: object, loaders: tuple[type, ...]) -> None:
        self.registry, self.loaders = registry, loaders

    def get(self, name: str) -> type | None:
        """The class of that name, or its stock base."""
        found = self.registry.get(name)
        if found is None or found in self.loaders:
            return found
        return next((kind for kind in self.loaders if issubclass(found, kind)), found)


def know_derived_loaders() -> None:
    """Change what the function asks; it may have been imported elsewhere already."""
    import mmdet.datasets.utils as module

    if not isinstance(module.TRANSFORMS, _StockKinds):
        loaders = (
            module.LoadPanopticAnnotations,
            module.LoadAnnotations,
            module.LoadImageFromFile,
        )
        module.TRANSFORMS = _StockKinds(module.TRANSFORMS, loaders)
