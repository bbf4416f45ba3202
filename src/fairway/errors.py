"""The tree of errors a user can cause.

    FairwayError
    ├── RecipeError      a recipe that is not one
    ├── DataError        a shard, tokenizer or corpus that is damaged, missing or mixed up
    ├── GateError        a numerical gate that must stop the run (a zero Hessian, say)
    ├── ArtifactError    an artifact that cannot be read
    │   └── MalformedError   ... and that no writer of ours made, for its digest holds
    └── RefereeError     an evaluation method that broke the order of scoring

Each message says what, where, the value, and what would be right; the command line prints it as one line
and exits with 2. Our own mistakes are assertions; a breach in a record is a finding, never an exception.
"""


class FairwayError(Exception):
    """Base of everything a user can cause."""


class RecipeError(FairwayError):
    """A recipe names an unknown key, a wrong type, or values that exclude each other."""


class DataError(FairwayError):
    """A shard, tokenizer or corpus is damaged, missing or mixed up."""


class GateError(FairwayError):
    """A numerical gate failed; going on would ship a worse model silently."""


class ArtifactError(FairwayError):
    """An artifact is truncated, corrupted or not an artifact."""


class MalformedError(ArtifactError):
    """An artifact whose digest may hold and whose content our writer never makes.

    The program that ships reads what it wrote itself, and checks the digest; whoever reads others' files needs more.
    """


class RefereeError(FairwayError):
    """An evaluation method tried to score twice, skip a token, or learn before scoring."""
