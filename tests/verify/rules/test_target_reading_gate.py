"""Hints that depend on the token they are for are pointed at; those from the past alone are not."""

import pytest
from submissions import PROGRAM, log, submission, with_program

from fairway.verify.rules.target_reading_gate import RULE

LEAKING = """

class Words:
    def run(self, tokens, starts):
        hint = np.zeros(len(tokens))
        for i, token in enumerate(tokens):
            opens = bool(starts[token])
            if opens and self.key in self.best:
                hint[i] = self.best[self.key]
            self.best[self.key] = token
            self.key = (self.key, token)
        return hint
"""
CAUSAL = LEAKING.replace("opens = bool(starts[token])", "opens = bool(starts[self.last])").replace(
    "            self.key = (", "            self.last = token\n            self.key = ("
)
COUNTING = """

def sizes(tokens, letters, spaced):
    out = np.zeros(len(tokens))
    for i, token in enumerate(tokens):
        if spaced[token]:
            out[i] = letters[token] + 1
        else:
            out[i] = letters[token]
    return out
"""
C_LOOP = """
#include <stdint.h>
void run(State *state, const uint16_t *tokens, int n, const uint8_t *starts, uint16_t *hint) {
    for (int i = 0; i < n; ++i) {
        const uint16_t tok = tokens[i];
        %s
        if (!opens) {
            hint[i] = state->table[state->key].best;
        }
        learn(state->table, state->key, tok);
        %s
    }
}
"""
C_CALLS = """
#include <cstdint>
void run(const int64_t* pos, int n, int* hints) {
    for (int i = 0; i < n; i++) {
        int64_t p = pos[i];
        auto tok = uint16_t(tokens_[p]);
        auto before = uint16_t(tokens_[p - 1]);
        bool opens = starts[%s];
        int word; double weight;
        word_hint(opens, word, weight);
        int best = -1;
        if (word >= 0) best = word;
        hints[i] = best;
        update(tok);
    }
}
"""


def findings(tmp_path, files):
    return list(RULE.check(submission(tmp_path, files)))


def test_a_hint_under_a_look_up_of_its_token_is_pointed_at(tmp_path):
    (finding,) = findings(tmp_path, with_program(PROGRAM + LEAKING))
    assert (finding.verdict, finding.file) == ("REVIEW", "train_gpt.py")
    assert finding.line is not None and "hint[i]" in (PROGRAM + LEAKING).split("\n")[finding.line - 1]


@pytest.mark.parametrize("addition", ["", CAUSAL, COUNTING])
def test_the_past_and_counts_of_bytes_are_left_alone(tmp_path, addition):
    assert [finding.verdict for finding in findings(tmp_path, with_program(PROGRAM + addition))] == ["PASS"]


def test_in_c_the_order_within_the_loop_decides(tmp_path):
    leaking = C_LOOP % ("const uint8_t opens = starts[tok];", "state->key = tok;")
    causal = C_LOOP % ("const uint8_t opens = state->opens;", "state->opens = starts[tok];")
    (finding,) = findings(tmp_path / "a", {"state.c": leaking})
    assert (finding.verdict, finding.file, finding.line) == ("REVIEW", "state.c", 8)
    assert [finding.verdict for finding in findings(tmp_path / "b", {"state.c": causal})] == ["PASS"]


def test_in_c_a_flag_is_followed_through_a_call(tmp_path):
    (finding,) = findings(tmp_path / "a", {"mix.cpp": C_CALLS % "tok"})
    assert (finding.verdict, finding.file, finding.line) == ("REVIEW", "mix.cpp", 13)
    assert [finding.verdict for finding in findings(tmp_path / "b", {"mix.cpp": C_CALLS % "before"})] == ["PASS"]


def test_a_log_that_counts_hints_of_words_is_quoted(tmp_path):
    line = "ngram_tilt:hints total=100 gated=30 token_gate=10 within_gate={} word_gate=0"
    files = {"train_seed7.log": log(7, extra=line.format(20))}
    (finding,) = findings(tmp_path / "a", files)
    assert (finding.verdict, finding.file) == ("REVIEW", "train_seed7.log")
    assert "20 hints came through within_gate" in finding.message
    none = {"train_seed7.log": log(7, extra=line.format(0))}
    assert [finding.verdict for finding in findings(tmp_path / "b", none)] == ["PASS"]


def test_an_admission_is_quoted_and_a_denial_is_not(tmp_path):
    admission = "# X\n\nThe first kernel had a causality bug: the word gate read the target token.\n"
    denial = "# X\n\nThe kernel has no causality bug: no gate reads the target token.\n"
    (finding,) = findings(tmp_path / "a", {"README.md": admission})
    assert (finding.verdict, finding.file, finding.line) == ("REVIEW", "README.md", 3)
    assert [finding.verdict for finding in findings(tmp_path / "b", {"README.md": denial})] == ["PASS"]
