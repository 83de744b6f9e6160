# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files that code hosts and tools read: they parse, and name what is there."""

from __future__ import annotations

import configparser
import re
import subprocess

import pytest
import yaml

from helpers import doc_pages
from regionclip_mmdet import __version__

ROOT = doc_pages.ROOT
TRACKED = subprocess.run(
    ['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True
).stdout.splitlines()


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = read_yaml('CITATION.cff')
    assert citation['version'] == __version__
    (paper,) = citation['references']
    assert len(paper['authors']) == 11 and '2112.09106' in paper['url']


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / 'CHANGELOG.md').read_text()
    assert re.search(rf'^## {re.escape(__version__)}$', text, flags=re.M)


def test_continuous_integration_runs_what_is_there() -> None:
    jobs = read_yaml('.github/workflows/ci.yml')['jobs']
    assert jobs['test']['strategy']['matrix']['python'] == ['3.10', '3.11', '3.12']
    commands = [step.get('run', '') for job in jobs.values() for step in job['steps']]
    assert '.ci/run' in commands and 'make lint' in commands
    makefile = (ROOT / 'Makefile').read_text()
    for target in re.findall(r'make ([\w-]+)', '\n'.join(commands)):
        assert re.search(rf'^{target}:', makefile, flags=re.M), target


@pytest.mark.parametrize('kind', ['bug_report', 'feature_request'])
def test_issue_forms_have_fields(kind: str) -> None:
    form = read_yaml(f'.github/ISSUE_TEMPLATE/{kind}.yml')
    fields = [field for field in form['body'] if field['type'] != 'markdown']
    assert form['name'] and form['description'] and len(fields) > 2
    assert len({field['id'] for field in fields}) == len(fields)


def test_hooks_check_the_header_that_every_file_has() -> None:
    hooks = {hook['id']: hook for hook in read_yaml('.pre-commit-config.yaml')['repos'][0]['hooks']}
    header = re.compile(hooks['license-header']['entry'])
    files = [name for name in TRACKED if name.endswith(('.py', '.sh')) and (ROOT / name).is_file()]
    without = [name for name in files if not header.search((ROOT / name).read_text())]
    assert files and not without


def test_setup_cfg_repeats_the_line_length_alone() -> None:
    found = configparser.ConfigParser()
    found.read(ROOT / 'setup.cfg')
    assert found.sections() == ['flake8']
    project = (ROOT / 'pyproject.toml').read_text()
    assert f'line-length = {found["flake8"]["max-line-length"]}\n' in project
