"""What was built on this machine, where it was: the judge's image judges the record that is committed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def judge() -> None:
    """Skips unless buildah, bubblewrap and the image are here."""
    for program in ("buildah", "bwrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    name = f"localhost/{load()['judge']}"
    if subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True, check=False).returncode:
        pytest.skip(f"{name} was not built here (make container IMAGES=judge)")


def load() -> dict[str, str]:
    from fairway.records.images import load_images

    return {name: image.tagged for name, image in load_images(ROOT).items()}


def test_the_judges_image_judges_the_committed_record_without_torch_network_or_root(judge, tmp_path):
    record = next(path for path in sorted((ROOT / "records" / "track_pocket").iterdir()) if path.is_dir())
    place = tmp_path / "records" / "track_pocket" / record.name
    shutil.copytree(record, place)
    said = subprocess.run(
        [str(ROOT / "containers" / "try.sh"), "judge", "check", "--format", "json", str(place.relative_to(tmp_path))],
        env={**os.environ, "ENGINE": "buildah", "KEEP": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)
