"""What a program does to the world around it, as far as its calls name it: files, environment, network, commands."""

import ast
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fairway.verify.programs.names import aliases, calls, dotted
from fairway.verify.programs.nodes import all_nodes

Kind = Literal["absolute", "command", "environment", "execute", "network", "pickle", "read", "write"]
_ROOTS = (
    "Library|Users|Volumes|app|bin|boot|content|data|dev|etc|home|kaggle|lib|lib64|local_disk\\d*|media|mnt|nvme\\d*|opt|"
    "private|proc|root|run|runpod-volume|sbin|scratch|shared|srv|sys|tmp|usr|var|work|workspace"
)
_ABSOLUTE = re.compile(
    rf"(?:/(?:{_ROOTS})|~(?:\w+)?)(?:/[^\s:]{{0,300}})?(?:\s.{{0,20}})?|[A-Za-z]:[\\/][\w\\/. -]{{1,200}}"
)
_HARMLESS = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/proc/cpuinfo", "/proc/meminfo", "~"})
_COMMANDS = frozenset(
    "subprocess.run subprocess.call subprocess.check_call subprocess.check_output subprocess.Popen "
    "subprocess.getoutput subprocess.getstatusoutput os.system os.popen os.execv os.execvp os.execl os.execlp "
    "os.execve os.spawnv os.spawnl os.posix_spawn pty.spawn asyncio.create_subprocess_exec "
    "asyncio.create_subprocess_shell".split()
)
_NETWORK_MODULES = frozenset(
    "aiohttp boto3 botocore ftplib gcsfs gdown grpc http.client httpx kaggle paho paramiko pycurl requests s3fs "
    "smtplib urllib.request urllib3 wandb websocket websockets wget xmlrpc.client zmq".split()
)
_NETWORK_CALLS = re.compile(
    r"(?:socket\.(?:socket|create_connection|create_server)|torch\.hub\.\w+|datasets\.load_dataset|"
    r"huggingface_hub\.\w*(?:download|upload|create|push|Api)\w*|kernels\.(?:get_kernel|load_kernel)|"
    r"urllib\.request\.\w+|tiktoken\.get_encoding|(?:transformers\.\w+|AutoTokenizer|AutoModel\w*)\.from_pretrained)"
)
_NETWORK_COMMANDS = frozenset(
    "curl wget git pip pip3 uv conda apt apt-get aws gsutil gcloud rsync scp ssh huggingface-cli hf kaggle nc".split()
)
_PICKLES = frozenset(
    "pickle.load pickle.loads pickle.Unpickler cPickle.loads dill.load dill.loads cloudpickle.load cloudpickle.loads "
    "joblib.load marshal.load marshal.loads shelve.open".split()
)
_WRITERS = frozenset(
    "torch.save numpy.save numpy.savez numpy.savez_compressed shutil.copy shutil.copyfile shutil.move".split()
)
MOST_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that a program does, or may do."""

    kind: Kind
    what: str
    """Path, variable, command or call, as far as it is written down; the expression in ``<>`` where it is not."""
    line: int
    detail: str = ""


@lru_cache(maxsize=64)
def effects(tree: ast.Module) -> tuple[Effect, ...]:
    """Every effect that the calls, imports and constants of a program show."""
    return tuple(_effects(tree))


def _effects(tree: ast.Module) -> Iterator[Effect]:
    known = aliases(tree)
    for name, call in calls(tree):
        yield from _of_call(name, call, known)
    for node in all_nodes(tree):
        if isinstance(node, ast.Import):
            modules = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{one.name}" for one in node.names)]
        else:
            yield from _of_node(node, known)
            continue
        for module in modules:
            if module in _NETWORK_MODULES or module.split(".")[0] in _NETWORK_MODULES:
                yield Effect(kind="network", what=f"import {module}", line=node.lineno)
                break


def _of_node(node: ast.AST, known: Mapping[str, str]) -> Iterator[Effect]:
    if isinstance(node, ast.Subscript) and dotted(node.value, known) == "os.environ":
        yield Effect(kind="environment", what=_text(node.slice), line=node.lineno)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 400:
        if _ABSOLUTE.fullmatch(node.value) is not None and node.value.rstrip("/") not in _HARMLESS:
            yield Effect(kind="absolute", what=node.value, line=node.lineno)


def _of_call(name: str, call: ast.Call, known: Mapping[str, str]) -> Iterator[Effect]:
    line = call.lineno
    first = call.args[0] if call.args else None
    if name in _COMMANDS:
        command = _command(name, call, known)
        yield Effect(kind="command", what=command, line=line)
        if command in _NETWORK_COMMANDS:
            yield Effect(kind="network", what=f"command {command}", line=line)
    elif _NETWORK_CALLS.fullmatch(name) is not None:
        yield Effect(kind="network", what=name, line=line)
    elif name in ("os.environ.get", "os.getenv", "os.environ.pop", "os.environ.setdefault") and first is not None:
        default = _text(call.args[1]) if len(call.args) > 1 else ""
        yield Effect(kind="environment", what=_text(first), line=line, detail=default)
    elif name in _PICKLES:
        yield Effect(kind="pickle", what=name, line=line)
    elif name == "torch.load" and not _true(call, "weights_only"):
        yield Effect(kind="pickle", what="torch.load without weights_only=True", line=line)
    elif name == "numpy.load" and _true(call, "allow_pickle"):
        yield Effect(kind="pickle", what="numpy.load with allow_pickle=True", line=line)
    elif name in ("exec", "eval", "runpy.run_path", "runpy.run_module"):
        yield Effect(kind="execute", what=name, line=line)
    elif name in ("open", "io.open") and first is not None:
        yield Effect(kind="write" if _writes(call, 1) else "read", what=_text(first), line=line)
    elif name in _WRITERS and call.args:
        yield Effect(kind="write", what=_text(call.args[-1]), line=line)
    elif isinstance(call.func, ast.Attribute) and call.func.attr in (
        "write_text",
        "write_bytes",
        "read_text",
        "read_bytes",
    ):
        kind: Kind = "write" if call.func.attr.startswith("write") else "read"
        yield Effect(kind=kind, what=_text(call.func.value), line=line)


def _writes(call: ast.Call, position: int) -> bool:
    mode = call.args[position] if len(call.args) > position else None
    mode = next((keyword.value for keyword in call.keywords if keyword.arg == "mode"), mode)
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and any(c in mode.value for c in "wax+")


def _true(call: ast.Call, keyword: str) -> bool:
    return any(
        one.arg == keyword and isinstance(one.value, ast.Constant) and one.value.value is True for one in call.keywords
    )


def _command(name: str, call: ast.Call, known: Mapping[str, str]) -> str:
    """The program that a call starts."""
    given = call.args[0] if call.args else None
    given = next((keyword.value for keyword in call.keywords if keyword.arg in ("args", "cmd")), given)
    if given is None:
        return "<nothing>"
    first: ast.expr = given.elts[0] if isinstance(given, ast.List | ast.Tuple) and given.elts else given
    if isinstance(first, ast.Call) and dotted(first.func, known) in ("str", "os.fspath") and first.args:
        first = first.args[0]
    if dotted(first, known) == "sys.executable":
        return "python"
    if isinstance(first, ast.JoinedStr) and first.values and isinstance(first.values[0], ast.Constant):
        first = first.values[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.split():
        return posixpath.basename(first.value.split()[0])
    return _text(given)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value[:200]
    return f"<{ast.unparse(node)[:MOST_SHOWN]}>"
