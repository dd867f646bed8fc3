"""Imports go one way (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import vidarium

PACKAGE = Path(vidarium.__file__).parent

ORDER = [
    {"errors", "logs"},
    {"documents", "config"},
    {"permissions", "home"},
    {"blobs", "media", "database"},
    {"executor", "nxql"},
    {"ownership", "bulk", "repository", "users"},
    {"uploads", "renditions"},
    {"actions", "library"},
    {"rest"},
    {"app"},
    {"cli"},
    {"__main__"},
]
"""A module may import from its own layer's packages only itself, and anything above it in this list."""

LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "vidarium" else {node.module}
            )
    return {name.split(".")[1] for name in found if name.startswith("vidarium.")} - {"__version__"}


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    mine = parts[0]
    if mine == "__init__":
        return
    for other in _imports(path):
        allowed = other == mine or LEVEL[other] < LEVEL[mine]
        assert allowed, f"{'/'.join(parts)} may not import vidarium.{other}"


def test_a_worker_process_stays_small() -> None:
    for name in (
        "executor/worker.py",
        "blobs.py",
        *(str(p.relative_to(PACKAGE)) for p in (PACKAGE / "media").rglob("*.py")),
    ):
        assert _imports(PACKAGE / name) <= {"media", "blobs", "executor", "errors"}, name


def test_sql_stays_out_of_rest_and_cli() -> None:
    for area in ("rest",):
        for path in (PACKAGE / area).rglob("*.py"):
            assert "sqlalchemy" not in path.read_text(), path
