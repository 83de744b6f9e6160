# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pages of the site by what a reader wants to do, and which packages the API pages show."""

from __future__ import annotations

# Captions of groups and names of pages in docs/, in the order of the navigation.
PAGES = {
    'Start': ('installation', 'quickstart'),
    'Use': ('inference', 'visualization', 'features', 'web_app', 'export'),
    'Train': ('recipes', 'running', 'custom_dataset', 'downstream', 'mim', 'pretraining'),
    'Data': ('data', 'concepts', 'checkpoints'),
    'Reference': (
        'architecture',
        'errors',
        'model_zoo',
        'benchmarks',
        'parity',
        'differences',
    ),
}

# Pages of the API: title, and the packages below regionclip_mmdet with all that is in them.
# A package is shown by its __all__, so a new class needs no line here.
API = {
    'inference': ('Inference', ('apis',)),
    'visualization': ('Visualization', ('visualization',)),
    'models': ('Models', ('models',)),
    'datasets': ('Datasets', ('datasets',)),
    'evaluation': ('Evaluation', ('evaluation',)),
    'engine': ('Hooks, loops, optimizers', ('engine',)),
    'checkpoints': (
        'Checkpoints and configs',
        ('', 'checkpoints', 'conversion', 'recipes', 'utils'),
    ),
    'pretraining': ('Concepts and proposals for pretraining', ('concepts', 'pretraining')),
    'features': ('Region features', ('features',)),
    'export': ('Export', ('export',)),
}

# Packages that are parts of commands and have no page.
INTERNAL = ('compat', 'fileio', 'inert')
