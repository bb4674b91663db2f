"""Installed is enough: a wheel, unpacked into a folder, runs the user's commands in an empty folder without network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ("mr", "agnews", "appreviews", "mrpc", "qqp", "mnli", "sst2", "stsb", "cola")
PACKAGE_DATA = (
    "py.typed",
    "sandbox/tiny/model.safetensors",
    "sandbox/tiny/config.json",
    "sandbox/tiny/tokenizer.json",
    "annotations/prices.toml",
    "annotations/prompts/rationale.jinja",
    "annotations/prompts/ranking.jinja",
    "annotations/prompts/judge.jinja",
    "annotations/filter/rows.jsonl",
    *(f"reports/assets/{name}" for name in ("report.html.j2", "report.css", "report.js", "chart.css")),
    *(f"studio/assets/{name}" for name in ("studio.css", "studio.js")),
    "studio/templates/base.html.j2",
    "suites/demo.toml",
    "suites/claims-sandbox.toml",
    *(f"annotations/{task}/{kind}.jsonl" for task in BUNDLED if task != "cola" for kind in ("rationales", "rankings")),
    *(f"tasks/bundled/{task}.jsonl" for task in BUNDLED),
)
SMALL = {
    "data.labelled": 48,
    "data.prompts": 32,
    "data.validation": 16,
    "pairs.held_out": 8,
    "sft.epochs": 1,
    "rm.epochs": 1,
    "rm.sft_samples": 16,
    "ppo.steps": 2,
    "ppo.batch": 16,
}
"""As typed the command takes minutes; these sizes leave out repetition and no stage."""
MB = 1_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel; what it depends on is this environment's."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, timeout=900, capture_output=True)
    return target


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user would: own home, empty folder, no network, no keys, no data."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    home = folder.parent / "home"
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_package_data_is_inside_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    missing = [name for name in PACKAGE_DATA if f"rewardlab/{name}" not in sizes]
    assert missing == []
    tops = {name.split("/")[0] for name in sizes}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rewardlab"}
    assert not [name for name in sizes if "__pycache__" in name or name.endswith(".part")]
    assert sum(sizes.values()) < 12 * MB


def test_every_suite_of_the_checkout_travels(wheel: Path) -> None:
    suites = sorted((ROOT / "experiments").glob("*.toml"))
    with zipfile.ZipFile(wheel) as archive:
        assert [
            suite.name for suite in suites if archive.read(f"rewardlab/suites/{suite.name}") != suite.read_bytes()
        ] == []
    assert "demo.toml" in [suite.name for suite in suites]


def test_the_package_comes_from_the_wheel(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "-c", "import rewardlab; print(rewardlab.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(installed)
    script = (installed / "bin" / "rewardlab").read_text(encoding="utf-8")
    assert "from rewardlab.cli.main import main" in script


def test_pairs_of_a_real_task(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "-m", "rewardlab", "pair-gen", "--task", "agnews")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (empty / "runs" / "pairs").iterdir()
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(pairs) >= 8
    for pair in pairs:
        assert (pair["task"], pair["kind"]) == ("agnews", "label")
        assert pair["chosen_label"] == pair["gold_label"] != pair["rejected_label"]
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["source"]["agnews"]["kind"] == "bundled"
    assert manifest["annotators"] == ["bundled written for this project"]
    assert str(folder.relative_to(empty)) in done.stdout


def test_the_plan_as_typed(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "-m", "rewardlab", "ppo", "--reward", "mixed", "--lambda", "5", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("[to run]") == 9
    assert list(empty.iterdir()) == []


def test_ppo_on_the_mixed_reward(installed: Path, empty: Path) -> None:
    settings = [f"--set={key}={value}" for key, value in SMALL.items()]
    done = run(installed, empty, "-m", "rewardlab", "ppo", "--reward", "mixed", "--lambda", "5", *settings)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    warned = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert [line for line in warned if "site-packages" not in line] == []  # bitsandbytes makes torch warn of itself
    (folder,) = (empty / "runs" / "ppo").iterdir()
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert len((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == SMALL["ppo.steps"]
    stored = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert stored["commit"] is None


def test_the_demo_is_found_without_the_checkout(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "-m", "rewardlab", "suite", "run", "experiments/demo.toml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[to run]") == 9
