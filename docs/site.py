"""MkDocs hook: the repository's Markdown files, its notebook and the page that trains."""

import re
from pathlib import Path
from runpy import run_path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

NOTEBOOK = "build/lecture.ipynb"  # executed
PAGES = {  # file in the repository -> page of the site
    "README.md": "index.md",
    "slurm/README.md": "slurm.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages, with their links rewritten."""
    root = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        text = _linked((root / source).read_text(), root / source, root)
        files.append(File.generated(config, page, content=text))
    text, pictures = MarkdownExporter().from_filename(str(root / NOTEBOOK))
    text = _linked(_without_styles(text), root / "notebooks/lecture.ipynb", root)
    files.append(File.generated(config, "notebook.md", content=text))
    for name, content in pictures["outputs"].items():
        files.append(File.generated(config, name, content=content))
    page = run_path(str(root / "pages/page.py"))["build_page"]()
    files.append(File.generated(config, "page.html", content=page))
    return files


def _without_styles(text: str) -> str:
    """Removes the styles of pandas' tables: the site has its own."""
    return re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrites the links of a page in docs/."""
    root = Path(config.config_file_path).parent
    source = root / "docs" / page.file.src_uri
    return _linked(markdown, source, root) if source.is_file() else markdown


def _linked(text: str, source: Path, root: Path) -> str:
    """Points links to pages of the site; those to other files become plain text."""

    def replaced(match: re.Match[str]) -> str:
        picture, label, target, anchor = match.groups(default="")
        if "://" in target or not target:
            return match[0]
        if source.suffix == ".ipynb" and picture:  # an output of its cells
            return match[0]
        file = (source.parent / target).resolve().relative_to(root).as_posix()
        if file in PAGES or file.startswith("docs/"):
            page = PAGES.get(file) or file.removeprefix("docs/")
            return f"{picture}[{label}]({page}{anchor})"
        return label if file in label else f"{label} (`{file}`)"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)", replaced, text)
