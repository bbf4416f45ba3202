import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.byte_counts import ByteTable, load_tokenizer, sidecar_bytes
from fairway.data.caseops import decode_case
from fairway.data.documents import document_lengths
from fairway.data.shards import load_tokens
from fairway.errors import DataError
from fairway.fetch import dataset as dataset_module
from fairway.fetch.dataset import (
    drop_duplicates,
    fetch_dataset,
    prove_disjoint,
    read_manifest,
    read_rows,
    shuffled,
    verify_dataset,
    write_rows,
)
from fairway.main import Run, validation
from fairway.prepare import DocumentRow, tokenize_to_shards, train_tokenizer
from fairway.recipes.load import load_recipe
from fairway.spec.data import DataSpec, HubCorpus, LocalCorpus

WORDS = "the ship left harbour at dawn and nobody saw it again until spring".split()


def texts() -> list[str]:
    return [" ".join(WORDS[(n * k + k) % len(WORDS)] for k in range(3 + n % 7)) + f" {n}" for n in range(40)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "docs.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts(), texts()[0]]))
    return path


@pytest.fixture(scope="module")
def spec(source: Path) -> DataSpec:
    return DataSpec(corpus=LocalCorpus(path=str(source)), vocab_size=300, val_docs=8, shuffle_seed=3, shard_tokens=200)


@pytest.fixture
def built(spec: DataSpec, tmp_path: Path) -> Path:
    fetch_dataset(spec, tmp_path / "data")
    return tmp_path / "data"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_holds_the_documents_the_rows_tell_of(built: Path) -> None:
    manifest = read_manifest(built)
    rows = read_rows(built / "documents.tsv")
    processor = load_tokenizer(built / "tokenizer.model")
    found: dict[str, list[str]] = {}
    for split in ("train", "val"):
        stream = load_tokens(built / split, split)  # type: ignore[arg-type]
        lengths = document_lengths(stream)
        found[split] = [processor.decode(part.tolist()[1:]) for part in stream.split(lengths)]
        ours = [row for row in rows if row.split == split]
        assert [row.tokens for row in ours] == lengths
        assert [row.sha256 for row in ours] == [hashlib.sha256(text.encode()).hexdigest() for text in found[split]]
        assert [row.text_bytes for row in ours] == [len(text.encode()) for text in found[split]]
        assert manifest["documents"][split] == len(ours)
        assert manifest["documents"][f"{split}_text_bytes"] == sum(row.text_bytes for row in ours)
    assert sorted(found["train"] + found["val"]) == sorted(texts())
    assert len(found["val"]) == 8


def test_the_manifest_counts_validation_bytes_as_the_text_has_them(built: Path) -> None:
    manifest = verify_dataset(built)
    tokens = len(load_tokens(built / "val", "val"))
    text_bytes = manifest["documents"]["val_text_bytes"]
    assert manifest["val"] == {"tokens": tokens, "targets": tokens - 1, "bytes": text_bytes}
    assert manifest["documents"]["overlap"] == 0
    assert manifest["corpus"]["documents"] == 41 and manifest["corpus"]["duplicates_dropped"] == 1
    assert sum(entry["tokens"] for entry in manifest["shards"] if entry["split"] == "val") == tokens
    listed = {entry["file"] for entry in manifest["shards"]}
    assert contents(built).keys() - listed == {"manifest.json", "tokenizer.model", "documents.tsv"}
    assert len([name for name in listed if name.startswith("train/")]) > 1


def test_the_same_spec_gives_the_same_bytes_in_another_place(spec: DataSpec, built: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    fetch_dataset(spec, tmp_path / "elsewhere" / "again", progress=lines.append)
    assert contents(tmp_path / "elsewhere" / "again") == contents(built)
    assert len(lines) == 3


def test_another_shuffle_seed_gives_another_split_of_the_same_documents(
    spec: DataSpec, built: Path, tmp_path: Path
) -> None:
    fetch_dataset(replace(spec, shuffle_seed=4), tmp_path / "other")
    ours, other = (read_rows(folder / "documents.tsv") for folder in (built, tmp_path / "other"))
    assert {row.sha256 for row in ours} == {row.sha256 for row in other}
    assert {row.sha256 for row in ours if row.split == "val"} != {row.sha256 for row in other if row.split == "val"}


@settings(deadline=None)
@given(documents=st.lists(st.text(max_size=5), unique=True, max_size=30), seed=st.integers(0, 2**40), data=st.data())
def test_the_shuffle_depends_on_seed_and_texts_and_not_on_the_order_they_came_in(
    documents: list[str], seed: int, data: Any
) -> None:
    order = shuffled(documents, seed)
    assert sorted(order) == sorted(documents)
    assert shuffled(data.draw(st.permutations(documents)), seed) == order


def test_caseops_documents_come_back_and_the_sidecar_has_the_bytes_of_each(
    spec: DataSpec, built: Path, tmp_path: Path
) -> None:
    shout = tmp_path / "shout.jsonl"
    lines = [f"{text.title()} AND {text.upper()} iN \ue001" for text in texts()]
    shout.write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    changed = replace(spec, corpus=LocalCorpus(path=str(shout)), transform="caseops", vocab_size=330)
    manifest = fetch_dataset(changed, tmp_path / "case")
    assert verify_dataset(tmp_path / "case") == manifest
    processor = load_tokenizer(tmp_path / "case" / "tokenizer.model")
    rows = [row for row in read_rows(tmp_path / "case" / "documents.tsv") if row.split == "val"]
    stream = load_tokens(tmp_path / "case" / "val", "val")
    lengths = document_lengths(stream)
    decoded = [decode_case(processor.decode(part.tolist()[1:])) for part in stream.split(lengths)]
    assert [row.sha256 for row in rows] == [hashlib.sha256(text.encode()).hexdigest() for text in decoded]
    assert set(decoded) < set(lines) and len(decoded) == 8
    counts = sidecar_bytes(tmp_path / "case" / "val").split(lengths)
    assert [int(count.sum()) for count in counts] == [row.text_bytes for row in rows]
    assert [int(count[0]) for count in counts] == [0] * 8
    assert manifest["val"]["bytes"] == sum(len(text.encode()) for text in decoded)
    assert len([entry for entry in manifest["shards"] if "val_bytes" in entry["file"]]) > 1
    # The split, its documents and their bytes do not hang on how they are cut into tokens.
    plain = fetch_dataset(replace(changed, transform="none"), tmp_path / "plain")
    assert plain["val"]["bytes"] == manifest["val"]["bytes"] and plain["val"]["tokens"] != manifest["val"]["tokens"]
    documents = [read_rows(tmp_path / name / "documents.tsv") for name in ("case", "plain")]
    assert [row.sha256 for row in documents[0]] == [row.sha256 for row in documents[1]]
    assert manifest["corpus"]["transform"] == "caseops" and "transform" not in read_manifest(built)["corpus"]


def test_evaluation_counts_by_the_sidecar_exactly_where_the_recipe_says_caseops(spec: DataSpec, tmp_path: Path) -> None:
    fetch_dataset(replace(spec, transform="caseops", vocab_size=330), tmp_path / "data")
    val, tokenizer = tmp_path / "data" / "val", tmp_path / "data" / "tokenizer.model"
    recipe = load_recipe("tiny").recipe
    found = {}
    for transform in ("caseops", "none"):
        data = replace(recipe.data, transform=transform)
        run = Run(
            recipe=replace(recipe, data=data), recipe_sha256="", forecast_bytes=0, seed=0, code_sha256="", code_bytes=0
        )
        tokens_N, bytes_N = validation(run, val, tokenizer)
        found[transform] = bytes_N
    assert torch.equal(found["caseops"], sidecar_bytes(val)) and len(found["caseops"]) == len(tokens_N)
    assert torch.equal(found["none"], ByteTable.from_tokenizer(tokenizer).of_targets(tokens_N))
    for path in val.glob("*_bytes_*"):
        path.unlink()
    with pytest.raises(DataError, match="no byte sidecars"):
        validation(replace(run, recipe=replace(recipe, data=replace(recipe.data, transform="caseops"))), val, tokenizer)


def test_a_document_that_caseops_tokens_would_not_give_back_is_refused(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "caseops.model"
    train_tokenizer(texts(), path, 320, transform="caseops")
    with pytest.raises(DataError, match="tokens of document 2 of val do not give it back: 'two  spaces'"):
        tokenize_to_shards(["fine", "two  spaces"], path, tmp_path / "val", "val", 100, transform="caseops")
    with pytest.raises(DataError, match="must be pieces of their own"):
        tokenize_to_shards(["x"], built / "tokenizer.model", tmp_path / "val", "val", 100, transform="caseops")


@pytest.mark.parametrize(("variant", "transform"), [("sp8192", "caseops"), ("sp8192_caseops", "none")])
def test_an_export_is_of_the_transform_that_it_is_of(variant: Any, transform: Any) -> None:
    with pytest.raises(ValueError, match=f"transform must be [a-z]+ for {variant}, got {transform}"):
        DataSpec(corpus=HubCorpus(variant=variant), vocab_size=8192, val_docs=50_000, transform=transform)


def test_of_equal_documents_the_first_stays() -> None:
    assert drop_duplicates(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]


def test_a_document_on_both_sides_of_the_split_is_an_error(
    spec: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, other = "a" * 64, "b" * 64
    prove_disjoint(
        [DocumentRow("train", same, 3, 5), DocumentRow("train", same, 3, 5), DocumentRow("val", other, 3, 5)]
    )
    with pytest.raises(DataError, match=f"1 documents are both training and validation, e.g. SHA-256 {same}"):
        prove_disjoint([DocumentRow("train", same, 3, 5), DocumentRow("val", same, 3, 5)])
    # The first in this order is held out, and a copy of it stays in training.
    monkeypatch.setattr(dataset_module, "drop_duplicates", list)
    monkeypatch.setattr(dataset_module, "shuffled", lambda documents, seed: list(documents))
    with pytest.raises(DataError, match="both training and validation"):
        fetch_dataset(spec, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_held_out_documents_do_not_shape_the_tokenizer(
    spec: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    train = dataset_module.train_tokenizer

    def spy(documents: list[str], path: Path, vocab_size: int, **options: Any) -> None:
        seen.extend(documents)
        train(documents, path, vocab_size, **options)

    monkeypatch.setattr(dataset_module, "train_tokenizer", spy)
    fetch_dataset(spec, tmp_path / "data")
    rows = read_rows(tmp_path / "data" / "documents.tsv")
    digests = {hashlib.sha256(text.encode()).hexdigest() for text in seen}
    assert digests == {row.sha256 for row in rows if row.split == "train"}


@pytest.mark.parametrize("val_docs", [40, 41])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(spec: DataSpec, tmp_path: Path, val_docs: int) -> None:
    with pytest.raises(DataError, match=f"val_docs is {val_docs}, but there are 40 distinct documents"):
        fetch_dataset(replace(spec, val_docs=val_docs), tmp_path / "data")


def test_a_fetch_that_was_killed_leaves_nothing_that_looks_done_and_the_next_one_is_as_if_undisturbed(
    spec: DataSpec, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    for step in ("train_tokenizer", "tokenize_to_shards", "write_rows", "sha256_file"):
        with monkeypatch.context() as patch:
            patch.setattr(dataset_module, step, killed)
            with pytest.raises(KeyboardInterrupt):
                fetch_dataset(spec, tmp_path / "again")
        assert not (tmp_path / "again").exists()
    (tmp_path / ".again.part" / "train").mkdir(parents=True, exist_ok=True)
    (tmp_path / ".again.part" / "train" / "fineweb_train_000099.bin").write_bytes(b"stale")
    fetch_dataset(spec, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(built)
    assert not (tmp_path / ".again.part").exists()


def test_a_dataset_is_replaced_and_anything_else_is_left_alone(spec: DataSpec, built: Path, tmp_path: Path) -> None:
    before = contents(built)
    (built / "train" / "fineweb_train_000099.bin").write_bytes(b"stale")
    fetch_dataset(spec, built)
    assert contents(built) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="exists and is no dataset"):
        fetch_dataset(spec, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_what_is_left_of_a_dataset_when_its_manifest_is_gone_is_replaced(spec: DataSpec, built: Path) -> None:
    before = contents(built)
    (built / "manifest.json").unlink()
    (built / "tokenizer.model").unlink()
    fetch_dataset(spec, built)
    assert contents(built) == before


def test_a_place_that_cannot_be_written_to_is_one_clear_line(spec: DataSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="data: cannot be written: Not a directory"):
        fetch_dataset(spec, tmp_path / "file" / "data")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-2]), Path.unlink])
def test_a_changed_truncated_or_missing_file_is_named(
    built: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    names = sorted(contents(built).keys() - {"manifest.json"})
    assert len(names) > 5
    for name in names:
        shutil.copytree(built, tmp_path / "copy")
        damage(tmp_path / "copy" / name)
        with pytest.raises(DataError, match=name):
            verify_dataset(tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy")
    verify_dataset(built)


def test_a_shard_that_the_manifest_does_not_list_is_named(built: Path) -> None:
    shutil.copy(built / "train" / "fineweb_train_000000.bin", built / "val" / "fineweb_val_000007.bin")
    with pytest.raises(DataError, match="fineweb_val_000007.bin: is not in the manifest"):
        verify_dataset(built)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "fairway-dataset", "version": 2}', '{"version": 1}'])
def test_a_manifest_of_another_format_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="fetch the dataset first"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: is no"):
        read_manifest(tmp_path)


def test_rows_come_back_as_written_and_a_bad_line_is_named(tmp_path: Path) -> None:
    rows = [DocumentRow("val", "a" * 64, 3, 5), DocumentRow("train", "b" * 64, 1, 0)]
    write_rows(tmp_path / "documents.tsv", rows)
    assert read_rows(tmp_path / "documents.tsv") == rows
    for line in ("test\tx\t1\t2", "val\tx\t1", "val\tx\t-1\t2", "val\tx\t1\ttwo", ""):
        (tmp_path / "bad.tsv").write_text(f"val\tx\t1\t2\n{line}\n")
        with pytest.raises(DataError, match=r"bad\.tsv:2: should read"):
            read_rows(tmp_path / "bad.tsv")


def test_the_embedded_corpus_becomes_a_dataset_out_of_the_box(tmp_path: Path) -> None:
    manifest = fetch_dataset(DataSpec(vocab_size=320, val_docs=60), tmp_path / "data")
    assert manifest["documents"]["train"] == 1129 and manifest["documents"]["val"] == 60
    assert manifest["documents"]["train_text_bytes"] + manifest["val"]["bytes"] == 4_141_616
    assert verify_dataset(tmp_path / "data") == manifest
