"""What following a program shows: order, settings, sides of a branch, its bounds."""

import ast
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.verify.trace import evaluate
from fairway.verify.trace.events import Trace, exclusive
from fairway.verify.trace.switches import Switches
from fairway.verify.trace.walk import follow

HEAD = """
import glob, os, torch
class Args:
    val_files = "data/fineweb_val_*.bin"
    train_files = os.path.join(os.environ.get("DATA", "data"), "fineweb_train_*.bin")
    on = bool(int(os.environ.get("ON", "0")))
class Net(torch.nn.Module):
    pass
def load(pattern):
    return torch.cat([read(path) for path in sorted(glob.glob(pattern))])
args, net = Args(), Net()
def learn(tokens, model):
    opt = torch.optim.SGD(model.parameters(), lr=1.0)
    model(tokens[:-1], tokens[1:]).backward()
    opt.step()
"""


def trace_of(body: str, switches: Switches | None = None, **helpers: str) -> Trace:
    """The trace of ``HEAD`` and a body."""
    others = {f"{name}.py": ast.parse(text) for name, text in helpers.items()}
    text = HEAD + textwrap.dedent(body)
    return follow("train_gpt.py", ast.parse(text), others, switches or Switches())


def learned_from(trace: Trace) -> list[set[str]]:
    """The tokens behind each gradient."""
    return [set(event.data) & {"val", "train"} for event in trace.of("backward")]


def test_tokens_are_told_by_the_shards_they_come_from() -> None:
    body = "learn(load(args.train_files), net)\nlearn(load(args.val_files), net)"
    assert learned_from(trace_of(body)) == [{"train"}, {"val"}]


def test_a_reused_name_forgets_what_it_held() -> None:
    body = """
        x = load(args.val_files)
        x = load(args.train_files)
        learn(x, net)
    """
    assert learned_from(trace_of(body)) == [{"train"}]


def test_the_step_names_what_the_optimizer_moves() -> None:
    body = """
        other = Net()
        learn(load(args.val_files), other)
        learn(load(args.val_files), torch.compile(net))
    """
    first, second = trace_of(body).of("step")
    assert len(first.own) == len(second.own) == 1
    assert first.own != second.own


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        (Switches(), []),
        (Switches(printed=(("on", "True"),)), [{"val"}]),
        (Switches(printed=(("on", "False"),), ordered=(("on", frozenset({"1"})),)), []),
        (Switches(printed=(("on", None),)), [{"val"}]),
        (Switches(ordered=(("on", frozenset({"1"})),)), [{"val"}]),
        (Switches(ordered=(("on", frozenset({"0"})),)), []),
    ],
)
def test_logs_go_before_commands_and_commands_before_defaults(switches: Switches, expected: list[set[str]]) -> None:
    trace = trace_of("if args.on:\n    learn(load(args.val_files), net)", switches)
    assert learned_from(trace) == expected
    assert bool(trace.off) == (expected == [])


def test_a_helper_of_the_folder_is_followed_into() -> None:
    helper = "def teach(model, tokens):\n    model(tokens, tokens).backward()\n"
    trace = trace_of("from teacher import teach\nteach(net, load(args.val_files))", teacher=helper)
    (event,) = trace.of("backward")
    assert (event.file, event.line, "val" in event.data) == ("teacher.py", 2, True)


def test_two_sides_of_a_branch_exclude_each_other_and_two_branches_do_not() -> None:
    body = """
        if unknown():
            learn(load(args.val_files), net)
        else:
            learn(load(args.val_files), net)
        if unknown():
            learn(load(args.val_files), net)
    """
    one, other, third = trace_of(body).of("backward")
    assert exclusive(one, other)
    assert not exclusive(one, third)


def test_recursion_and_endless_calls_end() -> None:
    trace = trace_of("def f(n):\n    return g(n)\ndef g(n):\n    return f(n) + f(n)\nf(load(args.val_files))")
    assert trace.gave_up == ""


def test_a_program_without_end_is_followed_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "MOST_EXPRESSIONS", 200)
    trace = trace_of("learn(load(args.val_files), net)\n" + "x = 1 + 2\n" * 400)
    assert "200 expressions" in trace.gave_up


def test_numbers_do_not_grow_without_end() -> None:
    trace = trace_of("x = 7\n" + "x = x * x\n" * 60 + "if x:\n    learn(load(args.val_files), net)")
    assert learned_from(trace) == [{"val"}]


NAMES = st.sampled_from(["args", "net", "learn", "load", "x", "torch", "os"])
VALUES = ["1", "-1", "0.0", "1e999", "9**99", "''", "'a_val_*.bin'", "None", "True", "[]", "{}", "()", "..."]
SIGNS = ["+", "*", "%", "//", "==", "<", "in", "is", "and", "@"]
ATOMS = st.one_of(NAMES, st.sampled_from(VALUES))
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(SIGNS), inner),
        st.builds("{}({}, *{}, **{})".format, inner, inner, inner, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({}).{}".format, inner, st.sampled_from(["step", "backward", "append", "values", "shape", "get"])),
        st.builds("[{} for x, *y in {} if {}]".format, inner, inner, inner),
        st.builds("(lambda x, *y: {})({})".format, inner, inner),
        st.builds("f'{{{}!r}}'".format, NAMES),
        st.builds("int({})".format, inner),
        st.builds("range({}, {})".format, inner, inner),
    ),
    max_leaves=8,
)
STATEMENTS = st.one_of(
    st.builds("x = {}".format, EXPRESSIONS),
    st.builds("x, *args = {}".format, EXPRESSIONS),
    st.builds("x[{}] += {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("net.y = {}".format, EXPRESSIONS),
    st.builds("if {}:\n    x = {}\nelse:\n    raise x".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("for x in {}:\n    learn({}, net)\n    break".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("while {}:\n    x = {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("class Args({}):\n    y = {}".format, NAMES, EXPRESSIONS),
    st.builds("del {}".format, NAMES),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STATEMENTS, max_size=6))
def test_any_program_is_followed_without_an_error(body: list[str]) -> None:
    trace = trace_of("\n".join(body))
    assert all(event.line > 0 for event in trace.events)
