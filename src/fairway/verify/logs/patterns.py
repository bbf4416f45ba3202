"""The lines that scripts of this family print, as patterns; they are matched against lines without prefixes.

Names follow the survey of real logs (docs of the corpus: score, step, stop, bytes, code, time, seed, machine).
"""

import math
import re

NUMBER = r"[-+]?\d[\d,_]{0,30}(?:\.\d{1,30})?(?:[eE][-+]?\d{1,3})?"
COUNT = r"\d[\d,_]{0,30}"
_TIME = r"(\d[\d,_]{0,20}(?:\.\d{1,20})?)\s?(ms|s|m|min|seconds|sec)\b"

LOSS = re.compile(rf"\bval_loss\s*[:=]\s*(?P<n>{NUMBER}|nan|-?inf)", re.IGNORECASE)
BPB = re.compile(rf"\bval_(?:var_)?bpb\s*[:=]\s*(?P<n>{NUMBER}|nan|-?inf)", re.IGNORECASE)
"""``<label> [stride:64] val_loss:X val_bpb:Y [eval_time:Nms]`` is the line of a score; what precedes is its label."""
LABEL = re.compile(r"[A-Za-z][\w.:\-]*")
ARGUMENT = re.compile(r"(?!final)\S*[:=]\S*\d\S*,?$|[|(\[].*|[:,]$")
"""A word of a score's line that is no part of its label: ``stride:64``."""

BPB_ALONE = re.compile(
    rf"(?P<label>[A-Za-z][\w.+\-]*(?: [A-Za-z]\w*| \([\w -]+\))*?)[ :_]\s*(?:val_)?bpb(?: ?\([\w -]+\))?"
    rf"\s*[:=]\s*(?P<n>{NUMBER})\s*$",
    re.IGNORECASE,
)
"""``Quantized BPB: 1.03``, ``final_x_exact val_bpb:1.27905213``."""
SUMMARY_BPB = re.compile(rf"(?:val_bpb:\s{{2,}}|final bpb: )(?P<n>{NUMBER})\s*$", re.IGNORECASE)
BYTES = re.compile(r"(?<![\w.])(?:bytes|total_bytes|byte_count|n_bytes)\s?[=:]\s?(?P<n>\d[\d,_]{4,30})\b")
ANY_TOKENS = re.compile(r"(?<![\w.])(?:tokens|tokens_scored|n_tok|total_targets)\s?[=:]\s?(?P<n>\d[\d,_]{4,30})\b")
ANY_BPB = re.compile(rf"\w*bpb\w*\s?[=:]\s?(?P<n>{NUMBER})\b", re.IGNORECASE)

DIAGNOSTIC = re.compile(
    r"diag|pre[-_ ]?quant|post[-_ ]?ema|post_swa|pre_ttt|baseline|float|fp32|raw_|ema_|swa_|step|best|warm|checkpoint"
    r"|:start|:progress|running|epoch|chunk|phase\b|pass ?\d",
    re.IGNORECASE,
)
"""Labels of scores that are not the artifact's."""
PROGRESS = re.compile(r":done$|:end$|:complete[d]?$", re.IGNORECASE)
"""Labels of scores that the line of the result repeats."""
MAIN = re.compile(r"(?:final|quantized|legal_ttt)(?:_\w+)?(?: sliding)?$", re.IGNORECASE)
"""Labels of the scores that accepted records rest on."""

SPENT = re.compile(rf"\b(?:eval_time|time|eval|elapsed|t)\s?[:=]\s*{_TIME}")
TOTAL_EVAL = re.compile(rf"total_eval_time\s*[:=]\s*{_TIME}")

STEP = re.compile(
    r"(?:(?:step|iter|s)[ :=]{1,12})?(?P<step>\d{1,9})\s?/\s?(?P<steps>\d{1,9})\b[ :,|]+(?P<rest>.*)", re.IGNORECASE
)
STEP_ALONE = re.compile(r"step[ :=]{1,12}(?P<step>\d{1,9})\b[ :,|]+(?P<rest>.*)", re.IGNORECASE)
STEP_TIME = re.compile(rf"\b(?:train_time|t|tt|time|elapsed)\s?[:=]\s?{_TIME}")
STEP_KIND = re.compile(r"(?:^|[\s|])(?:train_|tr_)?(?:loss|tl|fitness)\s?[:= ]")
STEP_LOSS = re.compile(rf"(?:^|[\s|])(?:train_|tr_)?(?:loss|tl|fitness)\s?[:= ]\s*(?P<n>{NUMBER})")
STEP_VALIDATION = re.compile(r"(?:^|\s)(?:val_loss|vl|val_bpb)\s?[:=]")
STOP = re.compile(rf"stopping_early: ?(?P<why>\w+)\s+train_time:\s?{_TIME}(?:\s+step:\s?(?P<step>\d{{1,9}}))?")
TRAINED = re.compile(
    rf"(?:training (?:complete|done|finished)[^0-9]*?|train(?:ing)?_(?:time|seconds|wallclock)\s*[:=]\s*){_TIME}"
    r"(?: \((?P<step>\d{1,9}) steps\))?",
    re.IGNORECASE,
)
TRAINED_ALL = re.compile(rf"train: done train_s:(?P<n>{NUMBER})\b")
"""The log of a record of fairway's own: what the loop and what replays batches after it took."""
STOPPED_AT = re.compile(r"stopping early at step (?P<step>\d{1,9})", re.IGNORECASE)

TOTAL_FORMAT = re.compile(
    rf"(?:final )?total (?:submission|artifact)(?: size)?(?: \(?(?P<format>[\w+.\-/ ]+?)\)?)?\s*[:=]\s*(?P<n>{COUNT})"
    r"(?: ?bytes| ?B\b|\s|$)",
    re.IGNORECASE,
)
TOTAL_PIPE = re.compile(rf"\bTotal submission: (?P<n>{COUNT})(?: bytes)?", re.IGNORECASE)
BUDGET = re.compile(rf"budget: ?(?P<n>{COUNT})/(?P<cap>{COUNT})\b")
TOTAL_ROUNDED = re.compile(r"=\s*(?P<n>\d{1,3}(?:\.(?P<decimals>\d+))?)/\d{1,3}(?:\.\d+)?\s?MB\b", re.IGNORECASE)
ARTIFACT_BYTES = re.compile(
    rf"(?:artifact_bytes|bytes_total|submission_size|artifact size)\s*[:=]\s*(?P<n>{COUNT})(?: ?bytes| ?B\b|\s|$)",
    re.IGNORECASE,
)
ARTIFACT_PLAIN = re.compile(rf"artifact(?: size)?:\s+(?P<n>{COUNT}) bytes", re.IGNORECASE)
MODEL = re.compile(rf"serialized model(?: (?P<format>[^:]+?))?\s*:\s*(?P<n>{COUNT})(?: ?bytes)?", re.IGNORECASE)
MODEL_PIPE = re.compile(rf"(?P<format>\w+\+\w+) model: (?P<n>{COUNT}) bytes\b", re.IGNORECASE)
CODE = re.compile(
    rf"code(?:[_ ](?:size|bytes))(?: \((?P<kind>(?:un)?compressed)[^)]*\))?\s*[:=]\s*(?P<n>{COUNT})(?: ?bytes)?",
    re.IGNORECASE,
)
CODE_INLINE = re.compile(rf"\bcode: ?(?P<n>{COUNT})(?: ?bytes)?\b", re.IGNORECASE)
CODE_SHA256 = re.compile(
    r"(?:code|script|source|train_gpt(?:\.py)?)[_ ]?sha256\w*\s*[:=]\s*([0-9a-f]{64})\b", re.IGNORECASE
)

SEED = re.compile(r"seed\s?[:=]\s?(\d{1,12})$", re.IGNORECASE)
SEED_INLINE = re.compile(r"(?:^|\s)seed[:=](\d{1,12})(?:\s|$)", re.IGNORECASE)
SEED_HEADER = re.compile(r"params:.*\bs:(\d{1,12})$")
WORLD = re.compile(r"world[_ ]size\s?[:=]\s?(\d{1,5})\b", re.IGNORECASE)
WORLD_HEADER = re.compile(r"params:.*\bws:(\d{1,5})\b")
TOKENS = re.compile(rf"val_loader\b.*\btokens[:=](?P<n>{NUMBER})\b")
TOKENS_SCORED = re.compile(r"\w+: scored targets:\d{1,12} of:(?P<n>\d{1,12})\b")
"""Of fairway's own logs again."""
TOKENS_PLAIN = re.compile(rf"(?:^|\s)val(?:idation)?[_ ]tokens\s?[:=]\s?(?P<n>{COUNT})\b", re.IGNORECASE)
DOCUMENTS = re.compile(r"\b(?:total_docs|val_docs|docs)[:=]\s?(\d{1,12})\b")
PARTIAL = re.compile(
    r"\(limited\)|\bsubset\b.*\btokens\b|\bval_(?:token_limit|subset\w*|max_\w+)\b\s*[:=]\s*[1-9]"
    r"|first \d+ (?:val|eval)",
    re.IGNORECASE,
)

GPU_ROW = re.compile(
    r"\|\s+\d+\s+(?:NVIDIA |Tesla )?(?P<name>[A-Z][\w .\-/]*?)(?:\.\.\.)?\s+(?:On|Off|N/A)\s*\|\s+[0-9A-F]{8}:",
    re.IGNORECASE,
)
GPU_LISTED = re.compile(r"GPU \d+: (?:NVIDIA )?(?P<name>.+?) \(UUID")
WARM_UP = re.compile(rf"\bcompile (?:warm-?up )?done \({_TIME}\)")
DECOMPRESSED = re.compile(rf"deserialize:? decompress\w* done in {_TIME}", re.IGNORECASE)
COLLECTED = re.compile(
    rf"gptq\w*:?\s?(?P<what>collected|calibrated|generated|done|hessians?|calibration)\b.*?\bin {_TIME}", re.IGNORECASE
)
ADAPTED = re.compile(
    rf"pre_?-?quant\w*:?\s?(?:done|completed?)\b.*?\b(?:elapsed|total_time|time)\s?[:=]\s?{_TIME}", re.IGNORECASE
)
PROCESS = re.compile(r"real\s+(?:(?P<minutes>\d{1,9})m)?(?P<seconds>\d{1,9}(?:\.\d{1,9})?)s?$")
SELF_GENERATED = re.compile(
    r"gptq\w*:?\s?(?:generat\w+|collect\w+ hessians)\b.*(?:autoregressive|self-?gen)", re.IGNORECASE
)
TIMER_BEGINS = re.compile(r"beginning \w+ eval timer", re.IGNORECASE)
PRECOMPUTED = re.compile(rf"(?P<what>\w+):precompute(?:_done)?\b.*\belapsed={_TIME}")

HEADER = re.compile(r"Hyperparameters:|Running P(?:ython|yTorch)\b")
"""Where a run begins anew to print what it is set to."""
SETTING = re.compile(r"\s*([A-Za-z_]\w{1,60}): ?(\S.{0,300})?$")
PAIR = re.compile(r"(?:^|\s)([A-Za-z_]\w{1,60})[=:](\S+)")
VALUE = re.compile(r"(?!args\.|self\.|h\.)[^{}()]*[^{}(),]|")


def whole(text: str) -> int:
    """A whole number as scripts write it, digits grouped or not."""
    return int(text.replace(",", "").replace("_", ""))


def seconds(amount: str, unit: str) -> float:
    """A span of time in seconds."""
    scale = {"ms": 0.001, "m": 60.0, "min": 60.0}.get(unit, 1.0)
    return round(float(amount.replace(",", "").replace("_", "")) * scale, 6)


def real(text: str) -> float | None:
    """A finite number as scripts write it; None where it is none."""
    try:
        value = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
