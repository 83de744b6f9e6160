# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Named text embeddings with their provenance: the only form in which models see text."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...checkpoints.files import read_file
from ...compat.checkpoints import save_whole
from ...known_files import require_file

if TYPE_CHECKING:
    from .clip_text_encoder import CLIPTextEncoder

PathLike = str | os.PathLike
_FORMAT = 'regionclip_mmdet.text_embeddings'
_VERSION = 1


def encode_names(names: Sequence[str]) -> Tensor:
    """Names as a uint8 tensor ``(n,)`` (UTF-8 of a JSON list), fit for a persistent buffer."""
    text = json.dumps(list(names), ensure_ascii=False)
    return torch.tensor(list(text.encode('utf-8')), dtype=torch.uint8)


def decode_names(encoded: Tensor) -> tuple[str, ...]:
    """Inverse of :func:`encode_names`; an empty tensor gives no names."""
    if encoded.numel() == 0:
        return ()
    return tuple(json.loads(bytes(encoded.cpu().tolist()).decode('utf-8')))


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """``K`` names, their embeddings and their provenance.

    Rows are stored as the encoder gave them (not normalized): whoever compares them with region
    embeddings normalizes. Validated on creation, so that a vocabulary in hand is a usable one.

    Attributes:
        names: the ``K`` distinct names; their order is the order of the rows.
        matrix: float32, shape ``(K, D)``; finite, without zero rows.
        provenance: JSON-able notes: model, weights, templates, source file, ...

    """

    names: tuple[str, ...]
    matrix: Tensor
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Normalizes types and refuses what would fail, or silently mislead, later."""
        if isinstance(self.names, str):  # tuple() would make letters of it
            raise ValueError(f'names must be a list of strings, not the string {self.names!r}')
        object.__setattr__(self, 'names', tuple(self.names))
        matrix = torch.as_tensor(self.matrix).detach()
        if matrix.is_complex():  # float() would drop a part of it
            raise ValueError('the matrix of text embeddings is complex')
        object.__setattr__(self, 'matrix', matrix.float())
        object.__setattr__(self, 'provenance', dict(self.provenance))
        check_names_valid(self.names)
        _check_matrix_valid(self.matrix, self.names)
        try:
            json.dumps(self.provenance)
        except TypeError as error:
            raise ValueError(f'provenance must hold JSON types only: {error}') from None

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = ', '.join(self.names[:3]) + (', ...' if len(self.names) > 3 else '')
        return f'TextEmbeddings({len(self)} x {self.embed_dim}: {shown}; {self.provenance})'

    @property
    def embed_dim(self) -> int:
        """``D``."""
        return self.matrix.shape[1]

    @property
    def is_named(self) -> bool:
        """False where a nameless matrix was given placeholder names ``#0, #1, ...``."""
        return not self.provenance.get('unnamed', False)

    # -- making -------------------------------------------------------------------------------

    @classmethod
    def from_tensor(
        cls,
        matrix: Tensor | PathLike,
        names: Sequence[str] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> TextEmbeddings:
        """Wrap a bare matrix, for example an official concept file.

        Args:
            matrix: a tensor ``(K, D)`` or the path of a file that holds one. The official tool
                squeezes the matrix of a single concept, so ``(D,)`` is taken as ``(1, D)``.
            names: the ``K`` names in row order. Left out, rows get placeholders and
                :meth:`check_names` will refuse them.
            provenance: notes to keep.

        """
        notes = dict(provenance or {})
        if not isinstance(matrix, Tensor):
            notes.setdefault('source', str(matrix))
            matrix = _load_plain(matrix)
            if not isinstance(matrix, Tensor):
                raise ValueError(
                    f'{notes["source"]} holds a {type(matrix).__name__}, not a bare tensor; '
                    'a file written by TextEmbeddings.save is read by TextEmbeddings.load'
                )
        if matrix.ndim == 1:
            matrix = matrix[None]
        if isinstance(names, str):
            raise ValueError(f'names must be a list of strings, not the string {names!r}')
        if names is None and matrix.ndim == 2:
            names = tuple(f'#{index}' for index in range(len(matrix)))
            notes['unnamed'] = True
        try:
            return cls(tuple(names or ()), matrix, notes)
        except ValueError as error:
            raise ValueError(f'{notes.get("source", "the given tensor")}: {error}') from None

    @classmethod
    def from_names(
        cls,
        names: Sequence[str],
        encoder: CLIPTextEncoder,
        templates: str | Sequence[str] = 'ensemble81',
    ) -> TextEmbeddings:
        """Embed names with a text encoder; see :meth:`CLIPTextEncoder.encode_names`."""
        return encoder.encode_names(names, templates)

    # -- files --------------------------------------------------------------------------------

    def save(self, path: PathLike) -> None:
        """Write one file of plain types, whole or not at all."""
        content = dict(
            format=_FORMAT,
            version=_VERSION,
            names=list(self.names),
            matrix=self.matrix.cpu().clone(),
            provenance=self.provenance,
        )
        save_whole(content, path)

    @classmethod
    def load(cls, path: PathLike) -> TextEmbeddings:
        """Read a file written by :meth:`save`.

        Raises:
            FileNotFoundError: there is no such file; says which command makes it.
            ValueError: it holds something else, or embeddings that cannot be used; names the file.
        """
        content = _load_plain(path)
        if isinstance(content, Tensor):
            raise ValueError(
                f'{path} holds a bare tensor {tuple(content.shape)} without names; give it some: '
                f'python tools/convert_checkpoint.py {path} --names NAMES -o VOCABULARY.pth (or '
                'TextEmbeddings.from_tensor(path, names=[...]))'
            )
        kind = content.get('format') if isinstance(content, Mapping) else None
        if not isinstance(kind, str) or kind != _FORMAT:
            raise ValueError(f'{path} is not a text-embedding file (no format={_FORMAT!r} inside)')
        version = content.get('version', 0)
        if not isinstance(version, int) or version > _VERSION:
            raise ValueError(
                f'{path} has format version {version}, this release reads up to '
                f'{_VERSION}; update regionclip_mmdet'
            )
        lacking = [key for key in ('names', 'matrix', 'provenance') if key not in content]
        if lacking:
            raise ValueError(f'{path} lacks {lacking}; write it with TextEmbeddings.save')
        try:
            return cls(content['names'], content['matrix'], content['provenance'])
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f'{path}: {error}') from None

    # -- using --------------------------------------------------------------------------------

    def select(self, names: Sequence[str]) -> TextEmbeddings:
        """The given names, in the given order."""
        position = {name: index for index, name in enumerate(self.names)}
        unknown = [name for name in names if name not in position]
        if unknown:
            raise ValueError(
                f'{len(unknown)} of {len(names)} names have no embedding here '
                f'(of {len(self)}): {unknown[:10]}; encode them with a CLIPTextEncoder'
            )
        rows = torch.tensor([position[name] for name in names], dtype=torch.long)
        matrix = self.matrix[rows.to(self.matrix.device)]
        return TextEmbeddings(tuple(names), matrix, self.provenance)

    def check_names(self, expected: Sequence[str], what: str) -> None:
        """Refuse any difference, order included.

        Args:
            expected: the names wanted, in order.
            what: whose names they are, for the message, for example ``'the dataset'``.

        """
        difference = names_difference(self.names, expected, 'the text embeddings', what)
        if difference is None:
            return
        if not self.is_named:
            raise ValueError(
                f'the {len(self)} text embeddings carry no names, so they cannot be matched with '
                f'{what} ({len(expected)} names); make them with '
                'TextEmbeddings.from_tensor(..., names=[...])'
            )
        raise ValueError(difference)


def names_difference(
    ours: Sequence[str], theirs: Sequence[str], what_ours: str, what_theirs: str
) -> str | None:
    """The first difference of two lists of names, order included, in words; None if equal."""
    ours, theirs = tuple(ours), tuple(theirs)
    if ours == theirs:
        return None
    shorter = min(len(ours), len(theirs))
    first = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    left, right = (repr(n[first]) if first < len(n) else 'nothing' for n in (ours, theirs))
    remedy = (
        'the names are the same in another order: TextEmbeddings.select reorders'
        if sorted(ours) == sorted(theirs)
        else 'the names themselves differ'
    )
    return (
        f'{what_ours} ({len(ours)} names) and {what_theirs} ({len(theirs)} names) differ at '
        f'position {first}: {left} in {what_ours}, {right} in {what_theirs}; {remedy}'
    )


def _load_plain(path: PathLike) -> Any:
    require_file(path, 'text-embedding file')
    return read_file(path, 'text-embedding file')[1]


def check_names_valid(names: Sequence[str]) -> None:
    """Refuse what cannot be a vocabulary's names.

    Raises:
        ValueError: None at all, a bare string, a name that is no string, cannot be written as
            UTF-8, or occurs again.
    """
    if isinstance(names, str):
        raise ValueError(f'names must be a list of strings, not the string {names!r}')
    if len(names) == 0:
        raise ValueError('text embeddings need at least one name')
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(f'names must be strings, but name {index} is {name!r}')
        try:
            name.encode('utf-8')
        except UnicodeEncodeError:
            raise ValueError(
                f'name {index}, {name!r}, holds half a character (a lone surrogate), which no file '
                'can store; read its source as UTF-8'
            ) from None
    seen: set[str] = set()
    duplicates = [name for name in names if name in seen or seen.add(name)]
    if duplicates:
        raise ValueError(f'names must be distinct, but these occur again: {duplicates[:10]}')


def _check_matrix_valid(matrix: Tensor, names: tuple[str, ...]) -> None:
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f'text embeddings must have shape (K, D), not {tuple(matrix.shape)}')
    if len(names) != len(matrix):
        raise ValueError(f'{len(names)} names do not fit {len(matrix)} rows of embeddings')
    broken = {
        'not finite (NaN or infinity)': ~matrix.isfinite().all(dim=1),
        'all zero (it has no direction to compare with)': (matrix == 0).all(dim=1),
    }
    for fault, rows in broken.items():
        if rows.any():
            row = int(rows.nonzero()[0])
            raise ValueError(
                f'the embedding of {names[row]!r} (row {row}; {int(rows.sum())} such rows) '
                f'is {fault}'
            )
