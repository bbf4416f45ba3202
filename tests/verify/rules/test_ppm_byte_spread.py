"""Mixtures with a model of bytes are pointed at; mixtures of weights are not."""

import pytest
from submissions import PROGRAM, submission, with_program

from fairway.verify.rules.ppm_byte_spread import RULE

SPREAD = """

def mixed(nll, tokens, pieces, model, weight=0.9):
    total = 0.0
    for i, token in enumerate(tokens):
        letters = pieces[token]
        each = -nll[i] / len(letters)
        for letter in letters:
            p = model.get(letter, 1.0 / 256.0)
            total -= math.log(weight * math.exp(each) + (1.0 - weight) * p)
    return total
"""
ARRAYS = """

def mixed(lp, lens, counted, sure):
    floor = math.log(1 / 256)
    spread = np.where(lens > 0, lp / lens, floor)
    weight = np.where(sure, 0.05, 0.9)
    return -np.log2(weight * np.exp(spread) + (1 - weight) * np.exp(counted)).sum()
"""
WHOLE = """

def mixed(network, letters, model, weight):
    other = 0.0
    for letter in letters:
        other += model.get(letter, math.log(1.0 / 256.0))
    return math.log(weight * math.exp(network) + (1 - weight) * math.exp(other))
"""
AVERAGE = """

def smooth(mean, weights, decay, header=256):
    for name in weights:
        mean[name] = decay * mean[name] + (1.0 - decay) * weights[name]
    return math.exp(-sum(len(name) / 256 for name in weights))
"""
C_SPREAD = """
#include <math.h>
static int one(double nn_logp, double lam, double p, double *mix) {
    const double uni = log(1.0 / 256.0);
    *mix -= log(lam * exp(nn_logp) + (1.0 - lam) * exp(p > 0 ? log(p) : uni));
    return 0;
}
int score(const double *nll, const int *lens, int n, double *mix) {
    for (int i = 0; i < n; i++) {
        int nb = lens[i];
        double nn_logp = -nll[i] / (double)nb;
        for (int j = 0; j < nb; j++) one(nn_logp, 0.9, 0.1, mix);
    }
    return 0;
}
"""


@pytest.mark.parametrize("addition", [SPREAD, ARRAYS, WHOLE])
def test_a_mixture_with_a_model_of_bytes_is_pointed_at(tmp_path, addition):
    findings = list(RULE.check(submission(tmp_path, with_program(PROGRAM + addition))))
    assert {finding.verdict for finding in findings} == {"REVIEW"}
    assert all(finding.line is not None and finding.line > PROGRAM.count("\n") for finding in findings)


@pytest.mark.parametrize("addition", ["", AVERAGE])
def test_averages_of_weights_are_left_alone(tmp_path, addition):
    findings = list(RULE.check(submission(tmp_path, with_program(PROGRAM + addition))))
    assert [finding.verdict for finding in findings] == ["PASS"]


def test_c_inside_of_a_constant_is_read(tmp_path):
    program = PROGRAM + f"\n\nNATIVE = r'''{C_SPREAD}'''\n"
    (finding,) = RULE.check(submission(tmp_path, with_program(program)))
    assert finding.verdict == "REVIEW"
    assert finding.line is not None and "/ (double)nb" in program.split("\n")[finding.line - 1]
