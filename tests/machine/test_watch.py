"""Walls that hold, limits that end, and a clock outside; each escape is tried by a program that really tries."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairway.machine.limits import Limits
from fairway.machine.sandbox import find_walls
from fairway.machine.watch import Task, Watched, watch

walled = pytest.mark.skipif(find_walls().mechanism is None, reason=f"no walls here: {find_walls().reason}")


def run(tmp_path: Path, program: str, *, walls: bool = True, limits: Limits | None = None, **more) -> Watched:
    script = tmp_path / "program.py"
    script.write_text(program, encoding="utf-8")
    reads = [script, *more.pop("reads", ())]
    task = Task(
        command=[sys.executable, str(script)],
        reads=reads,
        outputs=[tmp_path / "out" / "answer.txt"],
        limits=limits or Limits(seconds=20.0),
        walls=walls,
        **more,
    )
    return watch(task, folder=tmp_path)


def answer(tmp_path: Path) -> str:
    return (tmp_path / "out" / "answer.txt").read_text(encoding="utf-8")


def telling(expression: str, tmp_path: Path) -> str:
    """A program that writes down what an attempt came to."""
    return (
        "import os, pathlib, socket, subprocess, sys\n"
        f"out = pathlib.Path({str(tmp_path / 'out' / 'answer.txt')!r})\n"
        f"def attempt():\n    return {expression}\n"
        "try:\n    said = f'did: {attempt()}'\n"
        "except BaseException as error:\n    said = f'refused: {type(error).__name__}'\n"
        "out.write_text(said)\n"
    )


@walled
def test_outputs_come_out_and_the_record_says_what_held(tmp_path):
    seen = run(tmp_path, telling("1 + 1", tmp_path))
    assert (answer(tmp_path), seen.status, seen.is_well) == ("did: 2", 0, True)
    assert seen.isolation["state"] == "enforced" and str(seen.isolation["mechanism"]).startswith("bubblewrap")
    assert not list((tmp_path / "out").glob(".watch*"))


@walled
def test_no_connection_leaves(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        run(tmp_path, telling(f"socket.create_connection(('127.0.0.1', {port}), timeout=3)", tmp_path))
        assert answer(tmp_path) == "refused: ConnectionRefusedError"
        run(tmp_path, telling(f"socket.create_connection(('127.0.0.1', {port}), timeout=3)", tmp_path), walls=False)
        assert answer(tmp_path).startswith("did: ")  # the same attempt succeeds without walls


@walled
def test_no_name_is_resolved(tmp_path):
    run(tmp_path, telling("socket.getaddrinfo('example.org', 80)", tmp_path))
    assert answer(tmp_path) == "refused: gaierror"


@walled
def test_what_was_not_named_is_not_there(tmp_path):
    shards = tmp_path / "data" / "train" / "fineweb_train_000000.bin"
    shards.parent.mkdir(parents=True)
    shards.write_bytes(b"secret")
    named = tmp_path / "data" / "val" / "fineweb_val_000000.bin"
    named.parent.mkdir(parents=True)
    named.write_bytes(b"shown")
    run(tmp_path, telling(f"open({str(shards)!r}, 'rb').read()", tmp_path), reads=[named.parent])
    assert answer(tmp_path) == "refused: FileNotFoundError"
    run(tmp_path, telling(f"open({str(named)!r}, 'rb').read()", tmp_path), reads=[named.parent])
    assert answer(tmp_path) == "did: b'shown'"
    run(tmp_path, telling(f"sorted(os.listdir({str(tmp_path / 'data')!r}))", tmp_path), reads=[named.parent])
    assert answer(tmp_path) == "did: ['val']"


@walled
def test_inputs_cannot_be_written(tmp_path):
    artifact = tmp_path / "out" / "artifact.bin"
    artifact.parent.mkdir()
    artifact.write_bytes(b"as packed")
    seen = run(tmp_path, telling(f"open({str(artifact)!r}, 'r+b').write(b'x')", tmp_path), reads=[artifact])
    assert answer(tmp_path) == "refused: OSError"
    assert artifact.read_bytes() == b"as packed" and seen.strays == ()
    run(
        tmp_path,
        telling(f"os.replace({str(tmp_path / 'program.py')!r}, {str(artifact)!r})", tmp_path),
        reads=[artifact],
    )
    assert answer(tmp_path).startswith("refused: ") and artifact.read_bytes() == b"as packed"


@walled
def test_the_system_cannot_be_written(tmp_path):
    for place in ("/etc/passwd", "/usr/bin/new", "/new", os.path.join(sys.prefix, "new")):
        run(tmp_path, telling(f"open({place!r}, 'w').write('x')", tmp_path))
        assert answer(tmp_path).startswith("refused: "), place


@walled
def test_the_environment_does_not_go_in(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    run(tmp_path, telling("os.environ['SECRET_TOKEN']", tmp_path))
    assert answer(tmp_path) == "refused: KeyError"
    # nor is it to be had from other processes
    environs = "[open(f'/proc/{p}/environ', 'rb').read() for p in os.listdir('/proc') if p.isdigit()]"
    reads = f"[each for each in {environs} if b'SECRET_TOKEN=abc' in each]"
    run(tmp_path, telling(reads, tmp_path))
    assert answer(tmp_path) == "did: []"


@walled
def test_what_is_left_beside_the_outputs_is_gone_and_told(tmp_path):
    beside = tmp_path / "out" / "loot.bin"
    seen = run(tmp_path, telling(f"open({str(beside)!r}, 'w').write('x')", tmp_path))
    assert not beside.exists() and seen.strays == (beside.as_posix(),)


def test_a_missing_output_is_told(tmp_path):
    seen = run(tmp_path, "pass")
    assert seen.missing == ((tmp_path / "out" / "answer.txt").as_posix(),) and not seen.is_well


@walled
def test_an_output_that_is_a_link_is_none(tmp_path):
    target = tmp_path / "elsewhere"
    target.write_text("not for it", encoding="utf-8")
    seen = run(tmp_path, f"import os; os.symlink({str(target)!r}, {str(tmp_path / 'out' / 'answer.txt')!r})")
    assert seen.missing and not (tmp_path / "out" / "answer.txt").exists()


BOMB = "import os, time\nwhile True:\n    if os.fork() == 0:\n        time.sleep(30)\n"


@walled
def test_forking_without_end_is_ended(tmp_path):
    seen = run(tmp_path, BOMB, limits=Limits(seconds=20.0, processes=16))
    assert seen.ended_by == "processes" and seen.seconds < 15 and not seen.is_well


def test_the_clock_outside_ends_what_takes_too_long(tmp_path):
    forged = "import time\ntime.monotonic = time.perf_counter = time.time = lambda: 0.0\nwhile True:\n    pass\n"
    for walls in (True, False):
        seen = run(tmp_path, forged, limits=Limits(seconds=1.0), walls=walls)
        assert seen.ended_by == "time" and 1.0 <= seen.seconds < 10.0


@walled
def test_filling_memory_is_ended(tmp_path):
    greedy = "held = []\nwhile True:\n    held.append(b'x' * (16 << 20))\n"
    seen = run(tmp_path, greedy, limits=Limits(seconds=20.0, memory_bytes=256 << 20))
    assert seen.ended_by == "memory"


@walled
def test_filling_the_disk_is_ended(tmp_path):
    place = tmp_path / "out"
    many = (
        "import itertools, pathlib\nfor i in itertools.count():\n"
        f"    pathlib.Path({str(place)!r}, str(i)).write_bytes(b'x' * (1 << 20))\n"
    )
    seen = run(tmp_path, many, limits=Limits(seconds=20.0, disk_bytes=32 << 20))
    assert seen.ended_by == "disk" and not list(place.iterdir())


@walled
def test_one_file_does_not_grow_beyond_its_limit(tmp_path):
    large = telling(f"open({str(tmp_path / 'out' / 'answer.txt')!r}, 'wb').write(b'x' * (4 << 20))", tmp_path)
    seen = run(tmp_path, large, limits=Limits(seconds=20.0, file_bytes=1 << 20))
    assert answer(tmp_path) == "refused: OSError" and seen.is_well


@walled
def test_nothing_outlives_the_watcher(tmp_path):
    sleeper = tmp_path / "program.py"
    mark = f"sleeper-{os.getpid()}-{time.monotonic_ns()}"
    sleeper.write_text(
        "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', "
        f"'import time; time.sleep(60)  # {mark}'], start_new_session=True)\ntime.sleep(60)\n",
        encoding="utf-8",
    )
    outer = (
        "import sys\nfrom pathlib import Path\nfrom fairway.machine.watch import Task, watch\n"
        f"watch(Task(command=[sys.executable, {str(sleeper)!r}], reads=[Path({str(sleeper)!r})], walls=True))\n"
    )
    watcher = subprocess.Popen([sys.executable, "-c", outer], cwd=tmp_path)
    try:
        wait_until(lambda: alive(mark))
    finally:
        watcher.send_signal(signal.SIGKILL)
        watcher.wait()
    wait_until(lambda: not alive(mark))


def alive(mark: str) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def wait_until(holds, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def test_where_there_are_no_walls_the_record_says_so(tmp_path, monkeypatch):
    from fairway.machine import sandbox

    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.find_walls.cache_clear()
    try:
        seen = run(tmp_path, telling("1", tmp_path))
    finally:
        sandbox.find_walls.cache_clear()
    assert seen.isolation["state"] == "not available" and "not installed" in seen.isolation["reason"]
    assert answer(tmp_path) == "did: 1"


@walled
def test_in_a_container_a_program_inside_sees_no_process_at_all(tmp_path):
    # Parts of the outer /proc are covered, as in a container: no other can be mounted then. Nor can there be walls
    # around these walls where that is so already.
    outer = (
        []
        if str(find_walls().mechanism).endswith("without /proc")
        else ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    )
    inner = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from fairway.machine.sandbox import Room, enclosed, find_walls\n"
        "print(find_walls().mechanism or find_walls().reason)\n"
        "tell = [sys.executable, '-c', 'import os; print(sorted(os.listdir(\"/proc\")))']\n"
        "room = Room(folder=Path('/tmp'))\n"
        "print(subprocess.run(enclosed(tell, room), capture_output=True, text=True, check=True).stdout)\n"
    )
    said = subprocess.run([*outer, sys.executable, "-c", inner], capture_output=True, text=True)
    mechanism, listing = said.stdout.split("\n")[:2]
    assert mechanism.startswith("bubblewrap") and mechanism.endswith("without /proc"), (mechanism, said.stderr)
    assert listing == "['cpuinfo', 'meminfo']"
