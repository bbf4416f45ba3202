"""What calls of well-known names do to what is known of their values."""

import re

ALIASES = frozenset(
    "compile DDP DistributedDataParallel DataParallel to cuda cpu bfloat16 float half double eval train requires_grad_ "
    "parameters named_parameters children modules named_modules named_children module list tuple sorted reversed set "
    "enumerate zip iter items values keys get pop next filter detach type contiguous partial cast copy setdefault "
    "get_parameter get_submodule buffers unsqueeze view reshape".split()
)
"""Calls that give back what they are given, or a view of it."""
SIZES = frozenset(
    "numel size dim len nelement element_size is_available stride ndim shape dtype device hasattr isinstance id".split()
)
"""Calls and attributes that tell of a value without any of its data."""
LOSSES = frozenset("cross_entropy nll_loss kl_div binary_cross_entropy CrossEntropyLoss NLLLoss log_softmax".split())
LOGARITHMS = frozenset({"log", "log2", "log1p", "logaddexp", "logsumexp"})
SMALLER = frozenset({"minimum", "fmin"})
OPTIMIZERS = frozenset(
    "SGD Adam AdamW NAdam RAdam RMSprop Adagrad Adamax Adadelta LBFGS Lion Muon Rprop ASGD SparseAdam Adafactor".split()
)
MAKERS = frozenset(
    "zeros ones randn rand empty full tensor zeros_like ones_like randn_like empty_like Parameter".split()
)
TABLES = frozenset("zeros full empty ones defaultdict Counter dict OrderedDict".split())
MUTATORS = frozenset("append extend insert add update put copy_ add_ index_put_ appendleft".split())
COUNTERS = frozenset("add_ index_add_ scatter_add_ index_put_ scatter_reduce_".split())
WRITERS = frozenset("save write write_bytes tofile dump".split())

VALIDATION = re.compile(r"(^|[/_\\*])val(id|idation)?[_*\-./\\]|_val$", re.IGNORECASE)
TRAINING = re.compile(r"(^|[/_\\*])train(ing)?[_*\-./\\]|_train$", re.IGNORECASE)
SHARDS = re.compile(r"\.bin|\*|shard|\.npy|fineweb", re.IGNORECASE)
VALIDATION_NAMES = re.compile(
    r"^val(id|idation)?_(tok|file|data|load|path|glob|pattern|shard|ds|set|ids|stream|seq|x$|y$)"
)
TRAINING_NAMES = re.compile(r"^train(ing)?_(tok|file|load|path|glob|pattern|shard|ds|set|stream|x$|y$)")


def tokens_named(text: str) -> frozenset[str]:
    """Which tokens the path of shards names: ``val`` or ``train``; none where it names no shards."""
    if len(text) > 400 or not SHARDS.search(text) or " " in text.strip():
        return frozenset()
    name = re.split(r"[/\\]", text)[-1]
    if VALIDATION.search(name):
        return frozenset({"val"})
    return frozenset({"train"}) if TRAINING.search(name) else frozenset()


def tokens_called(name: str) -> frozenset[str]:
    """Which tokens a name of the program promises, where nothing else is known of it."""
    if VALIDATION_NAMES.search(name):
        return frozenset({"val"})
    return frozenset({"train"}) if TRAINING_NAMES.search(name) else frozenset()
