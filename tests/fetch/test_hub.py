import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairway.data.byte_counts import ByteTable
from fairway.data.shards import load_tokens
from fairway.errors import DataError
from fairway.fetch.dataset import fetch_dataset, verify_dataset
from fairway.fetch.hub import EXPORTS, kind_of
from fairway.spec.data import DataSpec, HubCorpus

Publish = Callable[..., dict[str, bytes]]
SHARD = "datasets/datasets/fineweb10B_sp1024/fineweb_train_000001.bin"


def spec(variant: Any = "sp1024", train_shards: int = 2, val_docs: int = 4, vocab_size: int = 340) -> DataSpec:
    corpus = HubCorpus(variant=variant, train_shards=train_shards)
    transform: Any = "caseops" if variant == "sp8192_caseops" else "none"
    return DataSpec(corpus=corpus, vocab_size=vocab_size, val_docs=val_docs, transform=transform)


def fetch(hub: Any, folder: Path, **changes: Any) -> dict[str, Any]:
    return fetch_dataset(spec(**changes), folder, endpoint=hub.endpoint)


def test_the_published_exports_are_those_of_the_reference() -> None:
    assert {variant: (export.repo, export.folder, export.tokenizer) for variant, export in EXPORTS.items()} == {
        "sp1024": (
            "willdepueoai/parameter-golf",
            "datasets/datasets/fineweb10B_sp1024",
            "fineweb_1024_bpe.model",
        ),
        "sp4096": ("kevclark/parameter-golf", "datasets/datasets/fineweb10B_sp4096", "fineweb_4096_bpe.model"),
        "sp8192": ("kevclark/parameter-golf", "datasets/datasets/fineweb10B_sp8192", "fineweb_8192_bpe.model"),
        "sp8192_caseops": (
            "romeerp/parameter-golf-caseops-v1",
            "datasets/datasets/fineweb10B_sp8192_lossless_caps_caseops_v1_reserved",
            "fineweb_8192_bpe_lossless_caps_caseops_v1_reserved.model",
        ),
    }


def test_a_byte_sidecar_is_never_taken_for_a_validation_shard() -> None:
    names = ("fineweb_val_000000.bin", "fineweb_val_bytes_000000.bin", "fineweb_train_000000.bin")
    assert [kind_of(name) for name in names] == ["val", "sidecar", "train"]
    others = ("fineweb_val_000000.bin.part", "xfineweb_val_000000.bin", "fineweb_val_.bin", "manifest.json")
    assert [kind_of(name) for name in others] == [None] * 4


def test_a_fetched_export_is_the_published_bytes_in_our_layout(hub: Any, publish: Publish, tmp_path: Path) -> None:
    files = publish("sp1024")
    manifest = fetch(hub, tmp_path / "data")
    folder = EXPORTS["sp1024"].folder
    wanted = {
        "tokenizer.model": files["datasets/tokenizers/fineweb_1024_bpe.model"],
        "train/fineweb_train_000000.bin": files[f"{folder}/fineweb_train_000000.bin"],
        "train/fineweb_train_000001.bin": files[f"{folder}/fineweb_train_000001.bin"],
        "val/fineweb_val_000000.bin": files[f"{folder}/fineweb_val_000000.bin"],
        "val/fineweb_val_000001.bin": files[f"{folder}/fineweb_val_000001.bin"],
        "manifest.json": (json.dumps(manifest, indent=2) + "\n").encode(),
    }
    found = {path.relative_to(tmp_path / "data").as_posix(): path.read_bytes() for path in files_under(tmp_path)}
    assert found == wanted
    assert [(entry["file"], entry["split"], entry["tokens"], entry["sha256"]) for entry in manifest["shards"]] == [
        (name, name.split("/")[0], (len(wanted[name]) - 1024) // 2, hashlib.sha256(wanted[name]).hexdigest())
        for name in sorted(wanted)
        if name.endswith(".bin")
    ]
    tokens = load_tokens(tmp_path / "data" / "val", "val")
    counted = ByteTable.from_tokenizer(tmp_path / "data" / "tokenizer.model").total(tokens)
    assert manifest["val"] == {"tokens": len(tokens), "targets": len(tokens) - 1, "bytes": counted}
    assert manifest["corpus"]["commit"] == hub.commit and manifest["documents"] is None
    assert verify_dataset(tmp_path / "data") == manifest


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_caseops_sidecars_lie_beside_the_shards_and_give_the_bytes(hub: Any, publish: Publish, tmp_path: Path) -> None:
    publish("sp8192_caseops")
    manifest = fetch(hub, tmp_path / "data", variant="sp8192_caseops")
    val = [entry for entry in manifest["shards"] if entry["split"] == "val"]
    assert [entry["file"] for entry in val] == [
        "val/fineweb_val_000000.bin",
        "val/fineweb_val_000001.bin",
        "val/fineweb_val_bytes_000000.bin",
        "val/fineweb_val_bytes_000001.bin",
    ]
    lengths = [entry["tokens"] for entry in val[:2]]
    assert manifest["val"]["tokens"] == sum(lengths)
    assert manifest["val"]["bytes"] == sum(len(hub.sentence(number).encode()) for number in range(4))
    assert verify_dataset(tmp_path / "data") == manifest


def test_every_export_holds_out_the_competitions_fifty_thousand_documents() -> None:
    assert {export.val_docs for export in EXPORTS.values()} == {50_000}


def recount(change: Callable[[list[int]], list[int]]) -> Callable[[dict[str, bytes]], object]:
    def apply(files: dict[str, bytes]) -> None:
        path = next(path for path in files if path.endswith("fineweb_val_bytes_000000.bin"))
        data = files[path]
        counts = change(list(struct.unpack(f"<{(len(data) - 1024) // 2}H", data[1024:])))
        header = struct.pack("<256i", 20240520, 1, len(counts), *[0] * 253)
        files[path] = header + struct.pack(f"<{len(counts)}H", *counts)

    return apply


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda counts: counts[:-1], "count [0-9]+ tokens, the validation shards have"),
        (lambda counts: [3, *counts[1:]], r"give 1 of [0-9]+ BOS and operators bytes, they have none"),
        (lambda counts: [3 if n == 0 else n for n in counts], r"give [0-9]+ of [0-9]+ BOS and operators bytes"),
        (lambda counts: [*counts[:-1], counts[-1] + 1], "byte sidecars count 2[0-9]+ bytes of text, the decoded"),
    ],
)
def test_sidecars_that_cannot_be_the_bytes_of_the_text_are_refused(
    hub: Any, publish: Publish, tmp_path: Path, change: Callable[[list[int]], list[int]], complaint: str
) -> None:
    recount(change)(publish("sp8192_caseops"))
    with pytest.raises(DataError, match=complaint):
        fetch(hub, tmp_path / "data", variant="sp8192_caseops")
    assert not (tmp_path / "data").exists()


def test_shards_that_hold_out_fewer_documents_are_refused_even_if_the_recipe_agrees(
    hub: Any, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("sp8192_caseops")
    monkeypatch.setitem(EXPORTS, "sp8192_caseops", replace(EXPORTS["sp8192_caseops"], val_docs=50_000))
    with pytest.raises(DataError, match="shards hold 4, the competition holds out 50000 documents"):
        fetch(hub, tmp_path / "data", variant="sp8192_caseops", val_docs=4)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Any, publish: Publish, tmp_path: Path) -> None:
    files = publish("sp1024")
    hub.cut_after[SHARD] = 640
    fetch(hub, tmp_path / "data")
    assert (tmp_path / "data" / "train" / "fineweb_train_000001.bin").read_bytes() == files[SHARD]
    assert hub.downloads_of("fineweb_train_000001.bin") == [None, "bytes=640-"]


def test_a_second_fetch_downloads_only_the_files_that_a_broken_one_lacked(
    hub: Any, publish: Publish, tmp_path: Path
) -> None:
    files = publish("sp1024")
    undisturbed = fetch(hub, tmp_path / "undisturbed")
    hub.gets.clear()
    hub.cut_after[SHARD] = 640
    hub.broken.add(SHARD)
    with pytest.raises(DataError, match=f"{SHARD} cannot be downloaded"):
        fetch(hub, tmp_path / "data")
    assert not (tmp_path / "data").exists(), "nothing half-written may be taken for done"
    killed = tmp_path / ".data.part" / "download" / ".cache" / "shard.incomplete"
    killed.write_bytes(b"what a killed process leaves")
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch(hub, tmp_path / "data")
    assert not killed.exists()
    hub.broken.clear()
    assert fetch(hub, tmp_path / "data") == undisturbed
    assert (tmp_path / "data" / "train" / "fineweb_train_000001.bin").read_bytes() == files[SHARD]
    assert hub.downloads_of("fineweb_train_000001.bin") == [None, "bytes=640-", None, None]
    assert hub.downloads_of("fineweb_train_000000.bin") == [None], "what was whole is not fetched again"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: data[:-2], r"\d+ tokens take \d+ bytes, the file has \d+"),
        (lambda data: data + b"\0\0", r"\d+ tokens take \d+ bytes, the file has \d+"),
        (lambda data: struct.pack("<i", 1) + data[4:], "magic number is 1"),
        (lambda data: data[:4] + struct.pack("<i", 2) + data[8:], "version is 2"),
        (lambda data: data[:100], "the file has 100"),
    ],
    ids=["truncated", "too long", "magic", "version", "header alone"],
)
def test_a_shard_that_was_published_damaged_is_refused_by_its_header(
    hub: Any, publish: Publish, tmp_path: Path, damage: Callable[[bytes], bytes], complaint: str
) -> None:
    files = publish("sp1024")
    files[SHARD] = damage(files[SHARD])
    with pytest.raises(DataError, match=complaint) as refused:
        fetch(hub, tmp_path / "data")
    assert "fineweb_train_000001.bin" in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_a_shard_that_is_shorter_than_listed_is_refused(hub: Any, publish: Publish, tmp_path: Path) -> None:
    files = publish("sp1024")
    hub.listed_size[SHARD] = len(files[SHARD]) + 2
    with pytest.raises(DataError, match=f"{SHARD} has {len(files[SHARD])} bytes, the hub lists"):
        fetch(hub, tmp_path / "data")


def test_a_shard_with_one_wrong_token_is_refused_and_alone_fetched_again(
    hub: Any, publish: Publish, tmp_path: Path
) -> None:
    files = publish("sp1024")
    good = files[SHARD]
    files[SHARD] = good[:1030] + b"\x07" + good[1031:]
    hub.listed_sha256[SHARD] = hashlib.sha256(good).hexdigest()
    with pytest.raises(DataError, match=f"{SHARD} has SHA-256 [0-9a-f]+, the hub lists {hub.listed_sha256[SHARD]}"):
        fetch(hub, tmp_path / "data")
    files[SHARD] = good
    fetch(hub, tmp_path / "data")
    assert (tmp_path / "data" / "train" / "fineweb_train_000001.bin").read_bytes() == good
    assert len(hub.downloads_of("fineweb_train_000001.bin")) == 2
    assert len(hub.downloads_of("fineweb_train_000000.bin")) == 1


def test_the_users_token_is_not_sent_to_another_endpoint(
    hub: Any, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    publish("sp1024")
    fetch(hub, tmp_path / "data")
    assert hub.tokens_seen == {None}


def remove(name: str) -> Callable[[dict[str, bytes]], object]:
    return lambda files: files.pop(next(path for path in files if path.endswith(name)))


def rewrite_manifest(old: str, new: str) -> Callable[[dict[str, bytes]], object]:
    path = "datasets/manifest.json"
    return lambda files: files.update({path: files[path].decode().replace(old, new).encode()})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (remove("fineweb_train_000001.bin"), "train file 1 of .* is missing"),
        (remove("fineweb_val_bytes_000001.bin"), "2 validation shards, 1 byte sidecars"),
        (remove("v1_reserved.model"), "tokenizers/.*.model is missing"),
        (remove("manifest.json"), "datasets/manifest.json is missing"),
        (rewrite_manifest("fineweb10B_sp8192", "fineweb10B_sp9999"), "manifest does not know fineweb10B_sp8192"),
        (rewrite_manifest("tokenizers/fineweb", "tokenizers/another"), "manifest says tokenizers/another"),
        (rewrite_manifest("model_path", "path"), "does not name the tokenizer"),
        (rewrite_manifest("{", ""), "does not name the tokenizer"),
        (lambda files: files.clear(), "no val files"),
    ],
)
def test_an_export_that_lacks_a_part_is_refused_with_the_parts_name(
    hub: Any, publish: Publish, tmp_path: Path, change: Callable[[dict[str, bytes]], object], complaint: str
) -> None:
    change(publish("sp8192_caseops"))
    with pytest.raises(DataError, match=complaint):
        fetch(hub, tmp_path / "data", variant="sp8192_caseops")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"train_shards": 4}, "has 3 training shards, train_shards=4"),
        ({"train_shards": 0}, "has 3 training shards, train_shards=0"),
        ({"val_docs": 5}, "val_docs is 5, the competition holds out 4 documents"),
        ({"vocab_size": 341}, "vocab_size is 341, the tokenizer of sp1024 has 340"),
    ],
)
def test_a_recipe_that_asks_for_another_export_than_there_is_is_refused(
    hub: Any, publish: Publish, tmp_path: Path, changes: dict[str, int], complaint: str
) -> None:
    publish("sp1024")
    with pytest.raises(DataError, match=complaint):
        fetch(hub, tmp_path / "data", **changes)


def test_a_tokenizer_of_another_size_or_none_at_all_is_refused(
    hub: Any, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = publish("sp1024")
    monkeypatch.setitem(EXPORTS, "sp1024", replace(EXPORTS["sp1024"], vocab_size=1024))
    with pytest.raises(DataError, match="fineweb_1024_bpe.model has 340 pieces, should have 1024"):
        fetch(hub, tmp_path / "data", vocab_size=1024)
    files["datasets/tokenizers/fineweb_1024_bpe.model"] = b"no model"
    with pytest.raises(DataError, match="is not a SentencePiece model"):
        fetch(hub, tmp_path / "other", vocab_size=1024)


def test_an_unknown_repository_and_an_unreachable_hub_are_one_line_each(hub: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the hub cannot be asked for its files") as unknown:
        fetch(hub, tmp_path / "data", vocab_size=1024)
    with pytest.raises(DataError, match="the hub cannot be asked for its files") as unreachable:
        fetch_dataset(spec(vocab_size=1024), tmp_path / "data", endpoint="http://127.0.0.1:9")
    assert "\n" not in str(unknown.value) + str(unreachable.value)
