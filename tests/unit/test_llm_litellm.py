"""litellm is imported quietly, without what it does by default; versions that stole credentials are excluded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from simworld.mind.llm import price_of

ROOT = Path(__file__).resolve().parents[2]

QUIET = """
import json, os, socket, sys
tried = []
connect = socket.socket.connect
def refuse(self, address):
    tried.append(str(address)); raise OSError("no network")
socket.socket.connect = refuse
before = dict(os.environ)
from simworld.mind.llm import litellm_library
assert "litellm" not in sys.modules
litellm = litellm_library()
lists = [litellm.callbacks, litellm.success_callback, litellm.failure_callback, litellm._async_success_callback]
print(json.dumps({
    "tried": tried, "new": sorted(set(os.environ) - set(before)), "planted": os.environ.get("PLANTED"),
    "callbacks": sum(map(len, lists)), "cache": litellm.cache is None, "telemetry": bool(litellm.telemetry),
    "verbose": bool(litellm.set_verbose), "retries": litellm.num_retries, "made": os.listdir("."),
}))
"""


@pytest.mark.slow
def test_importing_it_reaches_nothing_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PLANTED=1\n", "utf-8")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", QUIET], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "tried": [], "new": ["LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_MODE"], "planted": None, "callbacks": 0,
        "cache": True, "telemetry": False, "verbose": False, "retries": None, "made": [".env"],
    }  # fmt: skip


def test_versions_that_stole_credentials_are_excluded_with_the_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    (line,) = [d for d in tomllib.loads(text)["project"]["dependencies"] if d.startswith("litellm")]
    assert {"!=1.82.7", "!=1.82.8"} <= set(line.removeprefix("litellm").split(","))
    (written,) = [row for row in text.splitlines() if '"litellm>=' in row]
    assert "stole credentials" in written


def test_prices_come_from_its_local_table() -> None:
    price = price_of("gpt-4o-mini")
    assert price is not None
    assert price.of(1_000_000, 0) == pytest.approx(0.15)
    assert price.of(0, 1_000_000) == pytest.approx(0.6)
    assert price_of("openai/no-such-model") is None
