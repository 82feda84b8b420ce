"""The ``--update-golden`` flag: what a run is now becomes what it must be; without it, a readable diff."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Write tests/golden/*.json anew; say why in the commit."
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Compare something JSON can hold with ``tests/golden/NAME.json``."""
    update = request.config.getoption("--update-golden", default=False)

    def compare(name: str, now: Any) -> None:
        file = HERE / f"{name}.json"
        text = json.dumps(now, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        if update:
            file.write_text(text, "utf-8")
            return
        kept = file.read_text("utf-8") if file.exists() else ""
        if text != kept:
            diff = difflib.unified_diff(
                kept.splitlines(), text.splitlines(), f"{file.name} (kept)", "now", lineterm="", n=2
            )
            shown = "\n".join(list(diff)[:60])
            pytest.fail(
                f"the run is not what it was:\n{shown}\n"
                "if that is meant: pytest tests/golden --update-golden, and say in the commit why the digest changed",
                pytrace=False,
            )

    return compare
