import json

TEXTS = [
    f"The {word} of NASA, told by McKay in {year}." for word in ("Ship", "YEAR", "end") for year in range(1960, 1970)
]


def test_documents_of_ones_own_become_a_dataset_with_or_without_capitals_as_operators(fairway, tmp_path):
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    for options in ([], ["--caseops"]):
        folder = tmp_path / f"data{len(options)}"
        done = fairway("fetch", "--docs", docs, "--vocab", 310, "--val-docs", 4, *options, "-o", folder)
        assert done.status == 0, done.err
        assert len(list((folder / "val").glob("fineweb_val_bytes_*.bin"))) == len(options)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["val"]["bytes"] == manifest["documents"]["val_text_bytes"]
