from pathlib import Path

import pytest

from fairway.prepare import train_tokenizer

SENTENCES = [
    "The ship left the harbour at dawn, and nobody saw it again.",
    "Café crème, naïve façade, jalapeño, Ångström, smörgåsbord.",
    "日本語の文章と漢字。中文句子也在这里。",
    "In 1984 there were 3.14159 of them; by 2024 more than 1,000,000!",
    "She said: “well-known” things… (twice) — e.g. here/there & a_b.",
]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(SENTENCES * 3, path, 420)
    return path
