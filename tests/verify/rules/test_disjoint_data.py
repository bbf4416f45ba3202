def test_a_clean_split_passes(toy, said):
    (finding,) = said(toy.write().judge(), "disjoint-data")
    assert finding.verdict == "PASS" and finding.message == "4 training and 3 validation documents, none in common"


def test_a_validation_document_among_the_training_documents_fails(toy, failing, said):
    toy.documents[1] = ("train", toy.documents[5][1], *toy.documents[1][2:])
    verdict = toy.write().judge()
    assert failing(verdict) == {"disjoint-data"}
    (finding,) = said(verdict, "disjoint-data", "FAIL")
    assert (finding.file, finding.line) == ("documents.tsv", 6) and "training document of line 2" in finding.message


def test_a_manifest_that_denies_the_overlap_fails(toy, said):
    toy.write()
    toy.put("data_manifest.json", toy.read("data_manifest.json").replace('"overlap": 0', '"overlap": 1'))
    assert [f.file for f in said(toy.sign().judge(), "disjoint-data", "FAIL")] == ["data_manifest.json"]
