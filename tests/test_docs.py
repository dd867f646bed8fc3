"""The documents name what there is: every setting, route, action, conversion, command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vidarium.cli import COMMANDS
from vidarium.config import PREFIX, Settings
from vidarium.media.conversions import CONVERSIONS

ROOT = Path(__file__).parents[1]
DOCS = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    field = Settings.model_fields[name]
    default = "" if field.default is None else f"`{field.default}`"
    assert f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |" in DOCS


@pytest.mark.parametrize("name", CONVERSIONS)
def test_every_conversion_is_documented(name: str) -> None:
    assert name in DOCS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_has_an_example(name: str) -> None:
    assert f"vidarium {name}" in DOCS
    assert COMMANDS[name].__doc__
    assert "xit status" in (COMMANDS[name].__doc__ or "") or "Examples" in (COMMANDS[name].__doc__ or "")


def test_every_action_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "vidarium" / "actions").glob("*.py"))
    names = re.findall(r'name: str = "(\w+)"', source)
    assert names
    for name in names:
        assert f"`{name}`" in DOCS


def test_links_between_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} → {target}"


def test_commands_in_the_readme_are_ones_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"^    \.venv/bin/vidarium (\S+)", text, re.MULTILINE)
    assert len(named) >= 3
    assert set(named) <= set(COMMANDS)
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    asked = re.findall(r"^    (?:VIDEO=\S+ )?make (\S+)", text, re.MULTILINE)
    assert asked
    assert set(asked) <= set(targets)
