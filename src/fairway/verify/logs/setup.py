"""Lines about what a run was set to: seed, data, machine, hyper-parameters."""

from fairway.verify.logs import patterns as p

MOST_GPUS = 64
MOST_SETTINGS = 600


class Setup:
    """What a log says before and beside its numbers; each fact with its line."""

    LONGEST = 8_000
    """Characters of a line that is read: some scripts print all settings on one."""

    def __init__(self) -> None:
        self.header = True
        """Whether training has not begun, so that what is printed is set and not measured."""
        self.starts = 0
        """Times that a script told its Python, which it does once when it starts."""
        self.seed: tuple[int, int] | None = None
        self.world: tuple[int, int] | None = None
        self.tokens: tuple[int, int] | None = None
        self.documents: tuple[int, int] | None = None
        self.gpus: dict[str, int] = {}
        self.gpu_line: int | None = None
        self.settings: dict[str, str] = {}
        self.code_sha256: str | None = None

    def read(self, number: int, line: str) -> None:
        """Add what a line says about seed, data and machine."""
        text = line.strip()
        seed = p.SEED.fullmatch(text) or p.SEED_HEADER.search(text)
        if seed is not None:
            self.seed = (int(seed[1]), number)
        elif self.seed is None and (beside := p.SEED_INLINE.search(text)) is not None:
            self.seed = (int(beside[1]), number)
        world = p.WORLD.search(text) or p.WORLD_HEADER.search(text)
        if world is not None and int(world[1]) > 0:
            self.world = (int(world[1]), number)
        tokens = p.TOKENS.match(text) or p.TOKENS_PLAIN.search(text) or p.TOKENS_SCORED.match(text)
        if tokens is not None:
            self.tokens = (p.whole(tokens["n"]), number)
        documents = p.DOCUMENTS.search(text)
        part = "long_docs" in text or "short_docs" in text
        if documents is not None and text.startswith(("ttt", "eval", "val")) and not part:
            self.documents = (int(documents[1]), number)
        gpu = p.GPU_ROW.match(line) or p.GPU_LISTED.match(text)
        if gpu is not None and len(self.gpus) < MOST_GPUS:
            name = gpu["name"].strip()
            self.gpus[name] = self.gpus.get(name, 0) + 1
            self.gpu_line = self.gpu_line or number
        code = p.CODE_SHA256.match(text)
        if code is not None:
            self.code_sha256 = code[1].lower()

    def read_setting(self, line: str) -> None:
        """Add the settings that a line prints, if training has not begun."""
        if p.HEADER.match(line):
            self.header = True
            self.starts += line.startswith("Running Python")
        if not self.header or len(self.settings) >= MOST_SETTINGS:
            return
        pairs = p.PAIR.findall(line[: self.LONGEST])
        one = p.SETTING.fullmatch(line)
        if one is not None and len(pairs) < 2:
            pairs = [(one[1], (one[2] or "").strip())]
        elif line.startswith(("step", "warmup", "final", "|")) or line[0].isdigit():
            return
        for name, value in pairs:
            if p.VALUE.fullmatch(value) and not name.endswith(("val_loss", "val_bpb", "eval_time")):
                self.settings[name.lower()] = value
