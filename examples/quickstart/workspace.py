# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where the quickstart keeps its results, and how it knows what is already done."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regionclip_mmdet.fileio import read_json, write_text

from .console import get_console

MARKER = 'done.json'


class StageInputMissing(RuntimeError):
    """A stage is to run whose inputs do not exist yet."""


def fingerprint(*parts: Any) -> str:
    """Short hash of anything JSON can hold, the same in every process."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Stage:
    """One step of the quickstart.

    Args:
        name: Folder and command-line name.
        title: What the reader is told while it runs.
        run: Does the work in ``job.folder`` and returns what the report needs (JSON-ready).
        needs: Names of the stages whose results it reads.
        settings: Numbers and configs that decide its result, JSON-ready; part of the hash.
    """

    name: str
    title: str
    run: Callable[[Job], dict[str, Any]]
    needs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A stage being run: its own folder and the folders of its inputs."""

    stage: Stage
    workspace: Workspace

    @property
    def folder(self) -> Path:
        """Where this stage writes."""
        return self.workspace.folder(self.stage.name)

    def sibling(self, name: str) -> Path:
        """Folder of another stage of the same seed; ``''`` for the folder that holds them all."""
        return self.folder.parent / name

    @property
    def world(self) -> Path:
        """Where this seed's shapes world lies."""
        return self.sibling('world')

    def progress(self, text: str) -> None:
        """Show a passing state on the console."""
        get_console().progress(text)


class Workspace:
    """Folder of one run of the quickstart: a sub-folder with a marker for every finished stage.

    The marker holds the hash of the stage's settings and of its inputs' markers, so a stage is
    redone when it or anything before it changed.

    Args:
        root: Folder of the run.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, name: str) -> Path:
        """Folder of a stage."""
        return self.root / name

    def marker(self, name: str) -> dict[str, Any]:
        """The marker of a finished stage, ``{}`` for one that is not."""
        path = self.folder(name) / MARKER
        try:
            return read_json(path)
        except (OSError, ValueError):
            return {}

    def key(self, stage: Stage) -> str:
        """Hash of the stage's settings and inputs."""
        inputs = {name: self.marker(name).get('key') for name in stage.needs}
        return fingerprint(stage.name, stage.settings, inputs)

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage has run with these settings on these inputs."""
        return self.marker(stage.name).get('key') == self.key(stage)

    def check_inputs(self, stage: Stage, command: str = 'tools/quickstart.py') -> None:
        """Raise ``StageInputMissing`` if an input stage has not run."""
        missing = [name for name in stage.needs if not self.marker(name)]
        if missing:
            raise StageInputMissing(
                f'Stage {stage.name!r} needs the results of {", ".join(missing)}, but '
                f'{self.folder(missing[0]) / MARKER} is not there. Make them first: '
                f'python {command} --only {" ".join(missing)}'
            )

    def run(self, stage: Stage) -> dict[str, Any]:
        """Run a stage now, write its marker and return the marker."""
        self.check_inputs(stage)
        folder = self.folder(stage.name)
        folder.mkdir(parents=True, exist_ok=True)
        # An interrupted rerun must not look finished.
        (folder / MARKER).unlink(missing_ok=True)
        start = time.time()
        result = stage.run(Job(stage, self))
        marker = dict(
            key=self.key(stage),
            settings=stage.settings,
            seconds=round(time.time() - start, 1),
            result=result,
        )
        text = json.dumps(marker, indent=2, default=str)
        write_text(folder / MARKER, text)
        return marker


def select_stages(
    stages: Iterable[Stage],
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    start: str | None = None,
) -> tuple[list[Stage], set[str]]:
    """Choose what to run from the command line's words.

    Args:
        stages: All stages in order.
        only: Run these and no others, done or not.
        skip: Leave these out.
        start: Begin here; this stage and the later ones are redone.

    Returns:
        The stages to go through, and the names of those to run even if they are done.

    Raises:
        ValueError: A name that is no stage.
    """
    stages, only, skip = list(stages), set(only), set(skip)
    names = [stage.name for stage in stages]
    unknown = (only | skip | ({start} if start else set())) - set(names)
    if unknown:
        raise ValueError(
            f'No such stage: {", ".join(sorted(unknown))}. Stages: {", ".join(names)}.'
        )
    first = names.index(start) if start else 0
    chosen = [
        stage
        for i, stage in enumerate(stages)
        if i >= first and stage.name not in skip and (not only or stage.name in only)
    ]
    forced = {s.name for s in chosen} if start else only
    return chosen, forced
