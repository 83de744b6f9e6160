# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files: written whole or not at all; read with errors that name the file and what to do.

The one home of both. Nothing here knows tensors or needs torch.
"""

from .archives import DAMAGED_ZIP, check_zip, naming_damage, read_npz
from .reading import PathLike, parse_json, read_json, require_file, sha256_of
from .writing import (
    UNFINISHED,
    naming_write_errors,
    remove_unfinished,
    write_json,
    write_text,
    write_whole,
)

__all__ = [
    'DAMAGED_ZIP',
    'PathLike',
    'UNFINISHED',
    'check_zip',
    'naming_damage',
    'naming_write_errors',
    'parse_json',
    'read_json',
    'read_npz',
    'remove_unfinished',
    'require_file',
    'sha256_of',
    'write_json',
    'write_text',
    'write_whole',
]
