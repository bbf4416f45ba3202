"""Tensors and text to files."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fairway.runtime.files as files_module
from fairway.errors import DataError
from fairway.runtime.files import sha256_file, write_bytes_atomic, write_text_atomic
from fairway.runtime.tensors import load_metadata, load_tensors, save_tensors


def test_tensors_and_metadata_come_back_as_they_were_even_when_they_share_storage(tmp_path: Path) -> None:
    bank = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "bank": bank,
        "slice": bank[1],
        "turned": bank.transpose(1, 2),
        "half": torch.randn(5).bfloat16(),
        "symbols": torch.tensor([-3, 4], dtype=torch.int8),
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0, 4),
        "leaf": torch.nn.Parameter(torch.ones(2)),
    }
    path = tmp_path / "new" / "model.safetensors"
    save_tensors(path, tensors, {"seed": "3", "a": "ü"})
    loaded, metadata = load_tensors(path), load_metadata(path)
    assert metadata == {"seed": "3", "a": "ü"}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.detach())
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_equal_contents_give_equal_bytes_in_another_process_and_order(tmp_path: Path) -> None:
    script = """
import sys, torch
from pathlib import Path
from fairway.runtime.tensors import save_tensors
names = ["a", "b", "c", "d"][:: int(sys.argv[2])]
save_tensors(Path(sys.argv[1]), {n: torch.full((3,), ord(n)) for n in names}, {n * 2: n for n in names})
"""
    for order in ("1", "-1"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / order), order], check=True, timeout=120)
    assert sha256_file(tmp_path / "1") == sha256_file(tmp_path / "-1")


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_truncated_or_foreign_file_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"w": torch.ones(64)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="model.safetensors: not a whole safetensors file"):
        load_tensors(path)
    with pytest.raises(DataError, match="other: no such file"):
        load_tensors(tmp_path / "other")


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_text_atomic(path, "whole\n")

    def disk_is_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module.os, "fsync", disk_is_full)
    with pytest.raises(DataError, match="file: cannot be written: No space left on device"):
        write_bytes_atomic(path, b"half")
    assert path.read_text() == "whole\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_hash_of_a_file_is_the_hash_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    write_bytes_atomic(tmp_path / "x", data)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    with pytest.raises(DataError, match="y: cannot be read"):
        sha256_file(tmp_path / "y")
