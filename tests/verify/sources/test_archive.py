import io
import tarfile
import zipfile

import pytest
from submissions import NAME, whole, write

from fairway.errors import DataError
from fairway.verify.sources import archive as archives
from fairway.verify.sources.archive import is_archive, read_archive

ROOT = f"records/track_10min_16mb/{NAME}/"


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def tarred(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as made:
        for name, data in files.items():
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
@pytest.mark.parametrize("root", ["", f"{NAME}/", ROOT])
def test_every_format_gives_the_files_of_the_folder(tmp_path, name, root):
    files = {root + file: data for file, data in whole().items()}
    kind = name.rpartition(".")[2]
    mode = {"tar": "w:", "gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(kind, "")
    path = zipped(tmp_path / name, files) if kind == "zip" else tarred(tmp_path / name, files, mode)
    (tree,) = read_archive(path)
    assert set(tree.files) == set(whole()) and tree.root == root
    assert tree.name == (NAME if root else "x")
    assert tree.read("train_gpt.py", 10**6).decode() == whole()["train_gpt.py"]
    with tree.open("README.md") as first, tree.open("submission.json") as second:
        assert first.read(3) == b"# M" and second.read(1) == b"{" and first.read(3) == b"ade"


def test_each_folder_of_a_track_is_a_tree_of_its_own(tmp_path):
    path = zipped(tmp_path / "two.zip", {f"records/track_a/{n}/README.md": n for n in ("one", "two")})
    assert [tree.name for tree in read_archive(path)] == ["one", "two"]


@pytest.mark.parametrize("name", ["../out.py", "/etc/x", "a/../../x", "..\\x"])
def test_names_that_lead_out_cannot_be_opened(tmp_path, name):
    for path in (zipped(tmp_path / "x.zip", {name: "x", "a": "y"}), tarred(tmp_path / "x.tgz", {name: "x", "a": "y"})):
        (tree,) = read_archive(path)
        assert [entry.kind for entry in tree.entries if entry.path != "a"] == ["special"] and set(tree.files) == {"a"}


def test_links_in_archives_are_links(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as made:
        for kind, name in ((tarfile.SYMTYPE, "soft"), (tarfile.LNKTYPE, "hard"), (tarfile.FIFOTYPE, "pipe")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
    (tree,) = read_archive(tmp_path / "x.tar")
    assert {entry.path: entry.kind for entry in tree.entries} == {"soft": "link", "hard": "link", "pipe": "special"}
    info = zipfile.ZipInfo("soft")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    (tree,) = read_archive(tmp_path / "x.zip")
    assert [entry.kind for entry in tree.entries] == ["link"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_nobodys_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("train_gpt.py", "good = 1")
        made.writestr("train_gpt.py", "bad = 1")
    (tree,) = read_archive(tmp_path / "x.zip")
    assert tree.files == {} and tree.entries[0].detail == "stands in the archive more than once"


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_UNPACKED_BYTES", 10_000)
    for path in (
        zipped(tmp_path / "x.zip", {"a": bytes(9_000), "b": bytes(9_000)}),
        tarred(tmp_path / "x.tar.gz", {"a": bytes(9_000), "b": bytes(9_000)}),
        tarred(tmp_path / "x.tar", {"a": bytes(20_000)}, "w:"),
    ):
        with pytest.raises(DataError, match="unpacks to"):
            read_archive(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 torn", b"\x1f\x8b torn", b"BZh torn", b"\xfd7zXZ\x00 torn", bytes(100)]
)
def test_what_is_no_archive_is_one_line(tmp_path, data):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(data)
    try:
        trees = read_archive(path)
    except DataError as error:
        assert "x.tar.gz: no zip or tar" in str(error)
    else:
        assert [tree.entries for tree in trees] == [()]


def test_a_damaged_entry_is_an_error_of_its_file_alone(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a": bytes(range(256)) * 40, "b": "fine"})
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    (tree,) = read_archive(path)
    with pytest.raises(DataError, match="a: cannot be read"):
        tree.read("a", 10**6)
    assert tree.read("b", 10) == b"fine"


def test_archives_are_known_by_their_names(tmp_path):
    assert is_archive(tmp_path / "X.TAR.GZ") and not is_archive(write(tmp_path / "folder", {}, defaults=False))
