# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The documentation site: README.md as its front page, docs/*.md, and the API from docstrings.

Build it with ``make docs``. The checkout is the source folder, so that links between the pages
are the same ones on a code host and in the site.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import api_pages  # noqa: E402
import navigation  # noqa: E402

project = 'regionclip_mmdet'
copyright = 'regionclip_mmdet authors, Apache-2.0'
root_doc = 'README'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']

include_patterns = ['README.md', 'docs/*.md', 'docs/api/*.rst']
# Sphinx walks through folders before it compares patterns: keep it out of environments and data.
exclude_patterns = [p.name for p in ROOT.iterdir() if p.name not in ('README.md', 'docs')]

myst_heading_anchors = 4
# <img> with a width, in README.md
myst_enable_extensions = ['html_image']
autodoc_typehints = 'signature'
autodoc_preserve_defaults = True
autodoc_member_order = 'groupwise'
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
add_module_names = False

html_theme = 'furo'
html_title = 'regionclip_mmdet'
html_static_path = ['static']
html_css_files = ['site.css']
html_show_sphinx = False
html_copy_source = False
html_theme_options = {'navigation_with_keys': True}
pygments_style = 'friendly'
pygments_dark_style = 'monokai'


def write_api_pages(app):
    """Write docs/api before Sphinx looks which pages there are."""
    api_pages.write_pages(ROOT / api_pages.PACKAGE, ROOT / 'docs' / 'api', navigation.API)


def toctrees() -> str:
    """The navigation, of the pages that are there."""
    parts = {
        caption: [f'docs/{page}' for page in pages if (ROOT / 'docs' / f'{page}.md').is_file()]
        for caption, pages in navigation.PAGES.items()
    }
    written = {path.stem for path in (ROOT / 'docs' / 'api').glob('*.rst')}
    parts['API'] = [f'docs/api/{page}' for page in navigation.API if page in written]
    return '\n'.join(
        f'```{{toctree}}\n:hidden:\n:caption: {caption}\n\n' + '\n'.join(pages) + '\n```\n'
        for caption, pages in parts.items()
        if pages
    )


def adapt_page(app, docname, source):
    """Leave out marks of tests, turn links to what is on no site into text, add the navigation."""
    if docname.startswith('docs/api/'):
        return
    source[0] = re.sub(r'^ *<!-- (?:tested-by|needs): .*-->\n', '', source[0], flags=re.M)
    folder = (ROOT / docname).parent

    def without_outside(match: re.Match) -> str:
        path = (folder / match[2]).resolve()
        page = path.suffix == '.md' and path.parent != ROOT / 'docs' and path != ROOT / 'README.md'
        return match[1] if path.is_dir() or page else match[0]

    source[0] = re.sub(r'(?<!!)\[([^\]]+)\]\(([^)#:\s]+)\)', without_outside, source[0])
    if docname == root_doc:
        source[0] += '\n' + toctrees()


def write_index(app, exception):
    """Let the folder's address lead to the front page."""
    if exception is None and app.builder.format == 'html':
        shutil.copyfile(Path(app.outdir) / f'{root_doc}.html', Path(app.outdir) / 'index.html')


def setup(app):
    """Register what is done at the steps of a build."""
    app.connect('builder-inited', write_api_pages)
    app.connect('source-read', adapt_page)
    app.connect('build-finished', write_index)
