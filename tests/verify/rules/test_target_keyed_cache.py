"""Caches keyed by the token that is scored are pointed at; hashes of the context alone are not."""

import pytest
from submissions import PROGRAM, submission, with_program

from fairway.verify.rules.target_keyed_cache import RULE

EMBEDDING = """

class BigramHash(nn.Module):
    def __init__(self, size, dim):
        super().__init__()
        self.size = size
        self.embed = nn.Embedding(size, dim)

    def key(self, tokens):
        out = torch.empty_like(tokens)
        out[..., 0] = self.size - 1
        out[..., 1:] = torch.bitwise_xor(36313 * tokens[..., 1:], 27191 * tokens[..., :-1]) % (self.size - 1)
        return out

    def forward(self, tokens):
        keys = self.key(tokens)
        trigrams = (keys * 31 + tokens) % self.size
        return self.embed(keys) + self.embed(trigrams)
"""
CACHE = """

class Cache:
    def learn(self, seen, order):
        past = np.zeros(len(seen) - order, dtype=np.uint64)
        for k in range(order):
            past ^= seen[k : len(seen) - order + k] * PRIMES[k]
        at = (past & self.mask).astype(np.int64)
        both = ((past ^ (seen[order:] * PRIMES[order])) & self.mask).astype(np.int64)
        np.add.at(self.contexts, at, 1)
        np.add.at(self.pairs, both, 1)
"""
INTERMEDIATE = CACHE.replace(
    "        both = ((past ^ (seen[order:] * PRIMES[order])) & self.mask).astype(np.int64)\n",
    "        joined = past ^ (seen[order:] * PRIMES[order])\n        both = (joined & self.mask).astype(np.int64)\n",
)
FUNCTIONS = """

def context_key(seen, places, mask):
    key = np.zeros(len(places), dtype=np.uint64)
    key ^= seen[places - 1] * PRIMES[0]
    return key & mask


def whole_key(seen, places, wanted, mask):
    key = np.zeros(len(places), dtype=np.uint64)
    key ^= seen[places - 1] * PRIMES[0]
    key ^= wanted * PRIMES[1]
    return key & mask


class Cache:
    def look_up(self, seen, places, wanted):
        short = context_key(seen, places, self.mask).astype(np.int64)
        below = self.contexts[short]
        good = below > 2
        long = whole_key(seen, places[good], wanted[good], self.mask).astype(np.int64)
        above = np.minimum(self.pairs[long], below[good])
        return above.astype(np.float64) / np.maximum(below[good].astype(np.float64), 1.0)

    def learn(self, keys):
        self.contexts += np.bincount(keys, minlength=len(self.contexts))
"""
ROLLING = """

def count(tables, tokens, wanted):
    rolled = 0
    for token in tokens:
        rolled = (rolled * 31 + token) % SIZE
    whole = (rolled * 31 + wanted) % SIZE
    tables[0][rolled] += 1
    tables[1][whole] += 1
"""
C_CACHE = """
#include <cstdint>
void score(const int64_t* tokens, int n, double* out) {
    for (int p = 3; p < n; p++) {
        uint64_t past = mix(tokens, p);
        uint64_t at = past & bucket_mask;
        uint64_t both = (past ^ (uint64_t(tokens[p]) * PRIMES[3])) & bucket_mask;
        out[p] = double(pairs[both]) / double(contexts[at]);
    }
}
"""
C_PROBING = """
#include <cstdint>
int find(const Entry* table, uint64_t key) {
    uint32_t slot = uint32_t((key * TABLE_MIX) & mask);
    for (int p = 0; p < 16; p++) {
        uint32_t s = (slot + p) & mask;
        if (table[s].key == key) return table[s].best;
    }
    return -1;
}
"""


@pytest.mark.parametrize("addition", [CACHE, INTERMEDIATE, FUNCTIONS, ROLLING])
def test_a_cache_keyed_by_the_target_is_pointed_at(tmp_path, addition):
    program = PROGRAM + addition
    findings = list(RULE.check(submission(tmp_path, with_program(program))))
    assert [finding.verdict for finding in findings] == ["REVIEW"]
    assert findings[0].file == "train_gpt.py"
    assert findings[0].line is not None
    named = program.split("\n")[findings[0].line - 1]
    assert any(word in named for word in ("both", "joined", "whole", "long"))


def test_a_helper_in_c_counts_too(tmp_path):
    findings = list(RULE.check(submission(tmp_path, {"cache.cpp": C_CACHE})))
    assert [(finding.verdict, finding.file, finding.line) for finding in findings] == [("REVIEW", "cache.cpp", 7)]


def test_c_inside_of_a_constant_counts_too(tmp_path):
    program = PROGRAM + f"\n\nKERNEL = '''{C_CACHE}'''\n"
    (finding,) = RULE.check(submission(tmp_path, with_program(program)))
    assert finding.verdict == "REVIEW"
    assert finding.line is not None and "both =" in program.split("\n")[finding.line - 1]


@pytest.mark.parametrize("addition", ["", EMBEDDING])
def test_hashes_of_the_context_are_left_alone(tmp_path, addition):
    findings = list(RULE.check(submission(tmp_path, {**with_program(PROGRAM + addition), "find.c": C_PROBING})))
    assert [finding.verdict for finding in findings] == ["PASS"]


def test_a_folder_that_only_tells_of_its_cache_is_asked_for_the_program(tmp_path):
    files = {
        "README.md": "# Study\n\nHashed n-gram tables with linear mixing of the two.\n",
        "train_gpt.py": None,
    }
    findings = list(RULE.check(submission(tmp_path, files)))
    assert [(finding.verdict, finding.file, finding.line) for finding in findings] == [("REVIEW", "README.md", 3)]


def test_without_a_program_nothing_is_said_to_be_well(tmp_path):
    (finding,) = RULE.check(submission(tmp_path, {"train_gpt.py": None}))
    assert finding.verdict == "UNVERIFIABLE"
