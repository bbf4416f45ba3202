from submissions import LOSSES, bpb, claim, submission, whole, write

from fairway.verify.tree import FolderTree


def test_the_made_up_folder_is_read_whole(tmp_path):
    read = submission(tmp_path)
    assert set(read.tree.files) == set(whole())
    assert read.name == "2026-04-02_Made_Up" and read.path == "records/track_10min_16mb/2026-04-02_Made_Up"
    assert read.readme is not None and f"{claim()['val_bpb']:.8f}" in read.readme and read.problems == ()


def test_a_readme_that_is_no_utf8_is_a_problem_with_its_line_and_still_read(tmp_path):
    read = submission(tmp_path, {"README.md": b"one\ntw\xff\n"})
    assert read.problems == (("is not UTF-8 (byte 6)", "README.md", 2),)
    assert read.readme == "one\ntw\N{REPLACEMENT CHARACTER}\n"


def test_a_readme_in_another_case_is_found(tmp_path):
    assert submission(tmp_path, {"README.md": None, "readme.md": "x"}).readme_file == "readme.md"


def test_an_empty_folder_is_read_too(tmp_path):
    read = submission(tmp_path, {}, defaults=False)
    assert read.readme is None and read.claim is None and read.logs == () and read.programs.main is None


def test_the_made_up_scores_are_arithmetic():
    assert round(bpb(LOSSES[7]), 4) == 1.0839


def test_links_are_listed_and_not_followed(tmp_path):
    folder = write(tmp_path / "x")
    (folder / "link").symlink_to("/etc/passwd")
    entry = next(entry for entry in FolderTree(folder).entries if entry.path == "link")
    assert (entry.kind, entry.detail) == ("link", "/etc/passwd") and "link" not in FolderTree(folder).files
