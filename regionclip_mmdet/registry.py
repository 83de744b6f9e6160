# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Registries of the scope ``regionclip_mmdet``: empty children of mmdet's, one for each.

Everything of this package is registered into mmdet's registries (``default_scope='mmdet'``).
mmengine gives configs that are inherited as ``'regionclip_mmdet::...'`` the scope of their package,
and so does ``mmengine.hub``. It imports this module by its name, looks for registries of that
scope and, for what they do not have, in their parents: mmdet's. Without them every build warns.
"""

import mmdet.registry
from mmengine.registry import Registry

SCOPE = 'regionclip_mmdet'
# With a location named mmengine does not guess one; the package is imported by then anyway.
REGISTRIES: dict[str, Registry] = {
    name: Registry(parent.name, parent=parent, scope=SCOPE, locations=[SCOPE])
    for name, parent in vars(mmdet.registry).items()
    if isinstance(parent, Registry) and parent.scope == 'mmdet'
}
