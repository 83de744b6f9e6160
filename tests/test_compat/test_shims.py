# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Shims for lvis on new NumPy, for setuptools without pkg_resources, for DDP on CPUs."""

import os
from pathlib import Path

import lvis.eval
import numpy as np
import pytest
import torch
from mmengine.config import Config

import regionclip_mmdet  # noqa: F401
from regionclip_mmdet.compat import installed_packages, prepare_launch
from regionclip_mmdet.compat.distributed import choose_port


def test_lvis_evaluates_on_this_numpy(tmp_path: Path) -> None:
    from mmengine.fileio import dump

    box = [10.0, 10.0, 20.0, 20.0]
    truth = dict(
        images=[
            dict(id=1, height=64, width=64, neg_category_ids=[], not_exhaustive_category_ids=[])
        ],
        categories=[dict(id=1, name='red circle', frequency='r', image_count=1, synset='a.n.01')],
        annotations=[
            dict(id=1, image_id=1, category_id=1, bbox=box, area=400.0, segmentation=[[*box] * 2])
        ],
    )
    dump(truth, tmp_path / 'truth.json')
    dump([dict(image_id=1, category_id=1, bbox=box, score=0.9)], tmp_path / 'results.json')
    evaluation = lvis.LVISEval(
        str(tmp_path / 'truth.json'), str(tmp_path / 'results.json'), iou_type='bbox'
    )
    evaluation.run()
    assert evaluation.get_results()['AP'] == pytest.approx(1.0)


def test_numpy_seen_by_lvis_is_numpy() -> None:
    assert lvis.eval.np.float is float
    assert lvis.eval.np.cumsum is np.cumsum


def test_package_lookup_without_pkg_resources() -> None:
    assert installed_packages.is_installed('mmdet')
    assert installed_packages.is_installed('open_clip_torch')
    assert installed_packages.is_installed('regionclip_mmdet')
    assert not installed_packages.is_installed('no_such_package')
    assert Path(installed_packages.get_installed_path('mmdet'), '.mim', 'configs').is_dir()
    assert Path(installed_packages.get_installed_path('open_clip_torch')).name == 'open_clip'
    with pytest.raises(ModuleNotFoundError, match='no_such_package is not installed'):
        installed_packages.get_installed_path('no_such_package')


def test_single_process_needs_no_preparation() -> None:
    cfg = Config(dict(launcher='none'))
    prepare_launch(cfg)
    assert 'model_wrapper_cfg' not in cfg
    assert not torch.distributed.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without CUDA')
def test_launchers_that_need_cuda_are_refused() -> None:
    with pytest.raises(ValueError, match='--launcher slurm needs CUDA'):
        prepare_launch(Config(dict(launcher='slurm')))


def test_jobs_of_a_cluster_meet_at_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def port(launcher: str, job: str | None, step: str = '0') -> str | None:
        monkeypatch.setenv('MASTER_PORT', '')  # so that it is put back in the end
        monkeypatch.delenv('MASTER_PORT')
        for name, value in (('SLURM_JOB_ID', job), ('SLURM_STEP_ID', step)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        choose_port(launcher)
        return os.environ.get('MASTER_PORT')

    assert port('slurm', '1251', '3') == '12019'  # 12000 + (16 * 1251 + 3) % 20000
    ports = {port('slurm', str(job), step) for job in range(987650, 988650) for step in '012'}
    assert len(ports) == 3000 and all(12000 <= int(number) < 32000 for number in ports)
    assert port('slurm', '7', '4294967291') is not None  # steps of other kinds have large numbers
    assert port('mpi', '7') == '12112'
    assert (
        port('slurm', None) is None and port('pytorch', '7') is None and port('none', '7') is None
    )
    monkeypatch.setenv('SLURM_JOB_ID', '7')
    monkeypatch.setenv('MASTER_PORT', '31000')
    choose_port('slurm')
    assert os.environ['MASTER_PORT'] == '31000'
