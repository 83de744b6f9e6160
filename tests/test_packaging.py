# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is installed: wheels carry the whole package, configs and tools; configs are found."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

import regionclip_mmdet
from helpers.installed_layouts import Layout
from regionclip_mmdet import config_path
from regionclip_mmdet.config_paths import shipped_configs

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'regionclip_mmdet'


def files_below(folder: Path) -> set[str]:
    """Relative paths of files, without compiled ones."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.fixture
def installed(wheel_layout: Layout) -> Path:
    """Folder with an unpacked wheel."""
    return wheel_layout.folder


def test_wheel_carries_the_whole_package(installed: Path) -> None:
    # .mim is looked at below; everything else must arrive, data files too.
    expected = {name for name in files_below(PACKAGE) if not name.startswith('.mim/')}
    carried = files_below(installed / 'regionclip_mmdet')
    assert {name for name in carried if not name.startswith('.mim/')} == expected


@pytest.mark.parametrize('folder', ['configs', 'demo', 'tools'])
def test_wheel_carries_real_configs_demos_and_tools(installed: Path, folder: str) -> None:
    carried = installed / 'regionclip_mmdet' / '.mim' / folder
    expected = files_below(ROOT / folder)
    assert expected
    assert files_below(carried) == expected
    for name in expected:
        source = ROOT / folder / name
        assert (carried / name).read_bytes() == source.read_bytes()
        assert os.access(carried / name, os.X_OK) == os.access(source, os.X_OK), name


def test_the_workshop_is_not_in_the_wheel(installed: Path) -> None:
    carried = {path.relative_to(installed).parts[0] for path in installed.rglob('*.py')}
    assert carried == {'regionclip_mmdet'}
    assert (installed / 'regionclip_mmdet' / 'py.typed').is_file()


def test_a_tool_of_the_workshop_says_that_it_needs_a_checkout(
    wheel_layout: Layout, tmp_path: Path
) -> None:
    tool = wheel_layout.folder / 'regionclip_mmdet' / '.mim' / 'tools' / 'quickstart.py'
    run = wheel_layout.python(f'import runpy; runpy.run_path({str(tool)!r})', tmp_path)
    assert run.returncode == 1
    assert 'quickstart.py needs a checkout of the repository: examples/' in run.stderr


def test_packages_for_concept_pools_come_with_an_extra(installed: Path) -> None:
    (info,) = installed.glob('*.dist-info')
    needed = re.findall(r'^Requires-Dist: (.*)', (info / 'METADATA').read_text(), re.MULTILINE)
    always = {re.match(r'[\w-]+', line)[0] for line in needed if 'extra ==' not in line}
    assert {'torch', 'mmdet', 'lvis'} <= always and not {'textblob', 'simplemma'} & always
    for name in ('textblob', 'simplemma'):
        assert any(line.startswith(name) and '"concepts"' in line for line in needed)


@pytest.mark.parametrize('name', ['data', 'checkpoints', 'downloads', 'work_dirs', 'outputs'])
def test_git_ignores_a_link_to_another_disk(tmp_path: Path, name: str) -> None:
    git = ['git', '-C', str(tmp_path)]
    subprocess.run([*git, 'init', '-q'], check=True)
    (tmp_path / '.gitignore').write_text((ROOT / '.gitignore').read_text())
    (tmp_path / 'disk').mkdir()
    (tmp_path / name).symlink_to('disk')
    (tmp_path / 'other').symlink_to('disk')
    status = subprocess.run([*git, 'status', '--short'], capture_output=True, text=True, check=True)
    assert status.stdout.split() == ['??', '.gitignore', '??', 'other']


def test_wheel_names_version_and_license(installed: Path) -> None:
    (info,) = installed.glob('*.dist-info')
    metadata = (info / 'METADATA').read_text()
    assert f'Version: {regionclip_mmdet.__version__}\n' in metadata
    assert 'Requires-Dist: mmcv-lite<2.2,>=2.1; extra == "lite"' in metadata
    # A hard requirement on either mmcv would overwrite the other one.
    assert 'Requires-Dist: mmcv-lite<2.2,>=2.1\n' not in metadata
    assert 'Requires-Dist: mmcv<2.2,>=2.1\n' not in metadata
    assert any('Apache License' in path.read_text() for path in info.rglob('LICENSE'))


def test_wheel_imports_alone_and_finds_its_configs(installed: Path, tmp_path: Path) -> None:
    code = (
        'import regionclip_mmdet as r, regionclip_mmdet.config_paths as c\n'
        'from mmengine.config import Config\n'
        'print(r.__file__); print(c.config_folder())'
    )
    environment = dict(os.environ, PYTHONPATH=str(installed), OMP_NUM_THREADS='1')
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    module, folder = result.stdout.split('\n')[-3:-1]
    assert Path(module) == installed / 'regionclip_mmdet' / '__init__.py'
    assert Path(folder) == installed / 'regionclip_mmdet' / '.mim' / 'configs'


def test_links_for_mim_are_relative() -> None:
    for name in ('configs', 'demo', 'tools', 'model-index.yml'):
        link = PACKAGE / '.mim' / name
        if link.is_symlink():  # in a checkout; an installed package has real files
            assert os.readlink(link) == f'../../{name}'
        assert link.exists()


def metafiles() -> list[Path]:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    return [ROOT / name for name in index['Import']]


def test_metafiles_name_existing_configs() -> None:
    assert metafiles()
    for path in metafiles():
        for model in yaml.safe_load(path.read_text())['Models']:
            assert (ROOT / model['Config']).is_file(), f'{path}: {model["Config"]}'


def test_base_names_of_configs_are_unique() -> None:
    # mim looks configs up by base name: over the whole package, modules and tools as well
    places: dict[str, list[str]] = {}
    for path in (*PACKAGE.rglob('*.py'), *(PACKAGE / '.mim' / 'tools').rglob('*.py')):
        places.setdefault(path.name, []).append(path.relative_to(PACKAGE).as_posix())
    configs = [path.name for path in (ROOT / 'configs').rglob('*.py')]
    assert sorted(configs) == sorted(set(configs))
    assert {name: places[name] for name in configs if name in places} == {}


def test_docstrings_of_configs_name_files_that_exist() -> None:
    names = {path.name for folder in ('configs', 'tools') for path in (ROOT / folder).rglob('*.py')}
    pages = {path.name for path in (ROOT / 'docs').glob('*.md')}
    for path in shipped_configs():
        text = ast.get_docstring(ast.parse(path.read_text())) or ''
        named = {Path(name).name for name in re.findall(r'[\w./-]+\.(?:py|md)\b', text)}
        assert named <= names | pages, f'{path}: {sorted(named - names - pages)}'


def test_config_path_finds_every_config() -> None:
    for path in (ROOT / 'configs').rglob('*.py'):
        found = Path(config_path(path.relative_to(ROOT / 'configs').as_posix()))
        assert found.is_absolute()
        assert found.read_bytes() == path.read_bytes()


def test_config_path_lists_similar_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'quickstart').mkdir()
    (tmp_path / 'quickstart' / 'image_text_clip.py').touch()
    (tmp_path / 'other.py').touch()
    monkeypatch.setattr('regionclip_mmdet.config_paths.config_folder', lambda: tmp_path)
    for name in ('quickstart/image_text_clipp.py', Path('quickstart', 'image_text_clipp.py')):
        with pytest.raises(FileNotFoundError) as caught:
            config_path(name)
        assert 'quickstart/image_text_clip.py' in str(caught.value)
        assert 'other.py' not in str(caught.value)


def without_scope(value: object) -> object:
    """Drop the ``_scope_`` that mmengine adds to bases named by ``package::``."""
    if isinstance(value, dict):
        return {key: without_scope(item) for key, item in value.items() if key != '_scope_'}
    if isinstance(value, list | tuple):
        return type(value)(without_scope(item) for item in value)
    return value


@pytest.mark.parametrize(
    'base',
    [
        "[__import__('regionclip_mmdet').config_path('quickstart/clip.py')]",
        "'regionclip_mmdet::quickstart/clip.py'",
    ],
)
def test_another_project_inherits_our_configs(tmp_path: Path, base: str) -> None:
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {base}\nmine = 5\n')
    inherited = without_scope(Config.fromfile(child).to_dict())
    assert inherited.pop('mine') == 5
    assert inherited == Config.fromfile(config_path('quickstart/clip.py')).to_dict()
