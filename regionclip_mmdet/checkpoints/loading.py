# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What mmengine loads by its own functions is read as strictly as what this project reads.

``load_from``, ``--resume``, ``init_detector`` and ``init_cfg=dict(type='Pretrained')`` all use
mmengine's ``CheckpointLoader``. Its reader of local files leaves damaged ones to torch's words and
says nothing of which file a weight comes from; its reader of addresses runs whatever code a pickle
brings along, with every torch. Both are replaced when this package is imported.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from .files import read_file
from .layouts import recognize
from .state_dicts import unwrap_state_dict

SOURCE = 'checkpoint'


def load_from_local(filename: str, map_location: Any = 'cpu') -> Any:
    """Mmengine's checkpoints from a local file, as tensors and plain types only.

    Args:
        filename: path of the file; ``~`` is the home folder.
        map_location: device of the tensors, as in ``torch.load``.

    Returns:
        The content. The metadata of its state dict names the file: see ``named_source``.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is damaged, holds objects that need code to run, or no state dict; or it
            is a TorchScript archive or safetensors file of none of the kinds known here.
    """
    path = os.path.expanduser(filename)
    kind, content = read_file(path, map_location=map_location)
    state = unwrap_state_dict(content, f'checkpoint {path}')
    if kind != 'state dict':
        try:
            recognize(state)
        except ValueError as error:
            raise ValueError(
                f'checkpoint {path} is a {kind} file of something that is not used here: {error}'
            ) from None
    if 'state_dict' not in content and state is not content:  # detectron2's is below 'model'
        content = dict(state_dict=state, meta=content.get('meta', {}))
    return _with_source(_without_config(content, path), path)


def load_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True
) -> Any:
    """The same from an address; downloaded once, then taken from torch's folder.

    Args:
        url: address of the file.
        model_dir: folder in which downloads are kept.
        map_location: device of the tensors, as in ``torch.load``.
        progress: whether to show a progress bar.

    Raises:
        ValueError: See ``load_from_local``; also for web pages in place of files.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        print_log(f'Downloading {url} to {path}', 'current')
        torch.hub.download_url_to_file(url, path, progress=progress)
    return load_from_local(path, map_location)


def named_source(local_metadata: Mapping) -> str:
    """Where a state dict comes from: ``'checkpoint'`` and, if the metadata has it, the file.

    Args:
        local_metadata: metadata that ``Module._load_from_state_dict`` is given.
    """
    return ' '.join(filter(None, ('checkpoint', local_metadata.get(SOURCE))))


def guard_stock_loading() -> None:
    """Have mmengine read files and addresses by the functions here."""
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    # read at each call by its loaders of http(s)://, torchvision://, open-mmlab://, mmcls://
    mmengine_checkpoint.load_url = load_url


def _without_config(content: Any, path: str) -> Any:
    """Leave out the config of an mmcv 1.x checkpoint, which mmengine's resuming would execute."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    if isinstance(meta, dict) and meta.pop('config', None) is not None:
        print_log(f'{path}: the config that it carries is not executed.', 'current')
    return content


def _with_source(content: Any, path: str) -> Any:
    if not isinstance(content, dict):
        return content
    nested = isinstance(content.get('state_dict'), dict)
    state = content['state_dict'] if nested else content
    metadata = getattr(state, '_metadata', None)
    metadata = OrderedDict(metadata if isinstance(metadata, Mapping) else {})
    own = metadata.get('')
    metadata[''] = {**(own if isinstance(own, Mapping) else {}), SOURCE: path}
    # a plain dict has no room for metadata
    state = state if isinstance(state, OrderedDict) else OrderedDict(state)
    vars(state).update(_metadata=metadata)
    if not nested:
        return state
    content['state_dict'] = state
    return content
