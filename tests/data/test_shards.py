import errno
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.shards import (
    ShardWriter,
    find_token,
    load_tokens,
    open_shard,
    read_header,
    read_tokens,
    shard_name,
    sidecar_files,
    split_files,
    write_shard,
)
from fairway.errors import DataError


def packed(magic: int, version: int, tokens: int, ids: list[int]) -> bytes:
    return struct.pack("<3i", magic, version, tokens) + bytes(1012) + struct.pack(f"<{len(ids)}H", *ids)


def test_a_shard_is_the_published_format_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "fineweb_val_000000.bin"
    write_shard(path, np.array([1, 258, 65535], dtype=np.uint16))
    assert path.read_bytes() == packed(20240520, 1, 3, [1, 258, 65535])


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 65535), min_size=1, max_size=300))
def test_reading_gives_back_what_was_written(ids: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / shard_name("train", 0)
        write_shard(path, np.array(ids, dtype=np.uint16))
        assert read_header(path) == len(ids)
        assert open_shard(path).tolist() == ids
        assert read_tokens(open_shard(path), 0, len(ids)).tolist() == ids
        assert load_tokens(Path(folder), "train").tolist() == ids


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (packed(20240521, 1, 2, [1, 2]), "magic number is 20240521"),
        (packed(20240520, 2, 2, [1, 2]), "version is 2"),
        (packed(20240520, 1, 2, [1, 2])[:-1], "2 tokens take 1028 bytes, the file has 1027"),
        (packed(20240520, 1, 2, [1, 2, 3]), "2 tokens take 1028 bytes, the file has 1030"),
        (packed(20240520, 1, 0, []), "promises 0 tokens"),
        (packed(20240520, 1, -1, []), "promises -1 tokens"),
        (b"short", "the file has 5"),
    ],
)
def test_a_damaged_shard_is_refused_with_its_name_and_what_is_wrong(
    tmp_path: Path, data: bytes, complaint: str
) -> None:
    path = tmp_path / "fineweb_train_000000.bin"
    path.write_bytes(data)
    for read in (read_header, open_shard):
        with pytest.raises(DataError) as refused:
            read(path)
        assert str(path) in str(refused.value) and complaint in str(refused.value)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_header(tmp_path / "fineweb_train_000000.bin")


def test_a_full_disk_leaves_neither_a_shard_nor_a_part_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_shard(tmp_path / "fineweb_train_000000.bin", np.ones(4, dtype=np.uint16))
    assert list(tmp_path.iterdir()) == []


def test_splits_are_told_apart_and_byte_sidecars_and_parts_belong_to_none(tmp_path: Path) -> None:
    for name in (
        "fineweb_val_000001.bin",
        "fineweb_val_000000.bin",
        "fineweb_val_bytes_000000.bin",
        "fineweb_val_bytes_000001.bin",
        "fineweb_train_000000.bin",
        "fineweb_train_000001.bin.part",
    ):
        (tmp_path / name).touch()
    assert [path.name for path in split_files(tmp_path, "val")] == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    assert [path.name for path in split_files(tmp_path, "train")] == ["fineweb_train_000000.bin"]
    assert [path.name for path in sidecar_files(tmp_path)] == [
        "fineweb_val_bytes_000000.bin",
        "fineweb_val_bytes_000001.bin",
    ]


def test_a_folder_without_shards_or_with_a_gap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no val shards"):
        split_files(tmp_path, "val")
    with pytest.raises(DataError, match="no train shards"):
        split_files(tmp_path / "absent", "train")
    (tmp_path / "fineweb_val_bytes_000000.bin").touch()
    with pytest.raises(DataError, match="no val shards"):
        split_files(tmp_path, "val")
    (tmp_path / "fineweb_val_000000.bin").touch()
    (tmp_path / "fineweb_val_000002.bin").touch()
    with pytest.raises(DataError, match="fineweb_val_000001.bin is missing"):
        split_files(tmp_path, "val")


@settings(deadline=None)
@given(documents=st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=9), shard_tokens=st.integers(1, 12))
def test_the_writer_cuts_a_stream_into_full_shards_and_loses_nothing(
    documents: list[list[int]], shard_tokens: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = ShardWriter(Path(folder), "train", shard_tokens)
        for document in documents:
            writer.add(document)
        files = writer.finish()
        shards = [open_shard(file).tolist() for file in files]
        names = [file.name for file in files]
    assert sum(shards, []) == sum(documents, [])
    assert all(len(shard) == shard_tokens for shard in shards[:-1])
    assert names == [f"fineweb_train_{index:06d}.bin" for index in range(len(shards))]


def test_a_token_that_does_not_fit_sixteen_bits_is_never_wrapped(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        ShardWriter(tmp_path, "train", 10).add([65536])


def test_the_first_occurrence_of_a_token_is_found_beyond_one_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairway.data.shards._SHARD_SCAN_TOKENS", 4)
    shard = np.array([5, 5, 5, 5, 5, 5, 1, 5, 1], dtype=np.uint16)
    assert find_token(shard, 1) == 6
    assert find_token(shard, 7) is None
