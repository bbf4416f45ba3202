"""Marks in a running script, set when Python starts: the script itself is not touched.

``FAIRWAY_MARKS`` names the file that takes them; without it nothing happens. ``torch.Tensor.backward`` is wrapped,
which every training loop calls once a micro-batch: each call leaves a CUDA event behind (a reading of the clock on a
CPU) and waits for nothing. ``FAIRWAY_LOADER`` (``Class.method``) is wrapped as soon as its class is made, wherever that
is, and the first ``FAIRWAY_HASHES`` things it returns are hashed. All is written when the script ends.
"""

import os

if "FAIRWAY_MARKS" in os.environ:
    import atexit
    import builtins
    import functools
    import hashlib
    import json
    import sys
    import time
    from dataclasses import fields, is_dataclass

    import torch

    _owner = os.getpid()
    _marks: list = []
    _hashes: list[list[str]] = []
    _backward = torch.Tensor.backward

    @functools.wraps(_backward)
    def _marked(self, *args, **kwargs):
        found = _backward(self, *args, **kwargs)
        if self.is_cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            _marks.append(event)
        else:
            _marks.append(time.perf_counter())
        return found

    torch.Tensor.backward = _marked

    def _tensors(value):
        if isinstance(value, torch.Tensor):
            yield value
        elif is_dataclass(value):
            for field in fields(value):
                yield from _tensors(getattr(value, field.name))
        elif isinstance(value, tuple | list):
            for part in value:
                yield from _tensors(part)

    def _hash(tensor):
        flat = tensor.detach().to("cpu", torch.int64).reshape(-1)
        # Bounds of documents come padded by their last one, to lengths that are each side's own.
        while len(flat) > 1 and flat[-1] == flat[-2]:
            flat = flat[:-1]
        return hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:16]

    def _wrapped(method, most):
        @functools.wraps(method)
        def loader(*args, **kwargs):
            found = method(*args, **kwargs)
            if len(_hashes) < most:
                _hashes.append([_hash(tensor) for tensor in _tensors(found)])
            return found

        return loader

    _class_name, _, _method_name = os.environ.get("FAIRWAY_LOADER", "").partition(".")
    if _class_name:
        _most = int(os.environ.get("FAIRWAY_HASHES", "32"))
        _build_class = builtins.__build_class__

        def _build(function, name, *bases, **options):
            made = _build_class(function, name, *bases, **options)
            if name == _class_name and _method_name in vars(made):
                setattr(made, _method_name, _wrapped(vars(made)[_method_name], _most))
            return made

        builtins.__build_class__ = _build

    def _write():
        if os.getpid() != _owner or not _marks:
            return  # a child that was forked, or a helper of the compiler's
        cuda = not isinstance(_marks[0], float)
        if cuda:
            torch.cuda.synchronize()
            since = [_marks[0].elapsed_time(mark) / 1000.0 for mark in _marks]
            peak = torch.cuda.max_memory_allocated()
        else:
            since = [mark - _marks[0] for mark in _marks]
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        dynamo = sys.modules.get("torch._dynamo.utils")
        found = {
            "backward_s": since,
            "peak_bytes": peak,
            "batches": _hashes,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "attention": getattr(sys.modules.get("flash_attn_interface"), "__file__", None),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "graphs": dict(dynamo.counters["stats"]) if dynamo else {},
        }
        with open(os.environ["FAIRWAY_MARKS"], "w", encoding="utf-8") as file:
            json.dump(found, file)

    atexit.register(_write)
