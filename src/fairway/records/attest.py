"""Where a record comes from, as statements that others' tools read: in-toto with SLSA provenance, and an RO-Crate.

The statement names every file of the folder by its digest (its subjects) and what they were made from: recipe, data
manifest, locks, image, revision. It is plain JSON that anybody can check; signed, it travels in a DSSE envelope.

Sources: in-toto Attestation Framework, Statement v1; SLSA v1.1 provenance; DSSE v1; Workflow Run RO-Crate 0.5.
"""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SignatureError
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from fairway.errors import FairwayError
from fairway.records.layout import (
    CHECKSUMS,
    ENVELOPE,
    ENVIRONMENT,
    MANIFEST,
    README,
    RECIPE,
    ROCRATE,
    STATEMENT,
    UNSUMMED,
    VERDICT,
)
from fairway.runtime.files import sha256_file, write_bytes_atomic, write_text_atomic

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:fairway:record:v1"
_PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
)


def statement(folder: Path) -> dict[str, Any]:
    """The in-toto statement of a record's folder; equal folders give equal statements.

    ``FairwayError`` names the file that a statement cannot do without.
    """
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    subjects = [name for name in names if name not in (VERDICT, STATEMENT, ENVELOPE)]
    recipe, claim = (_json(folder / name) for name in (RECIPE, "submission.json"))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256_file(folder / name)}} for name in sorted(subjects)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "recipe": recipe["recipe"]["name"],
                    "recipe_sha256": recipe["sha256"],
                    "seeds": claim["seeds"],
                    "track": claim["track"],
                },
                "resolvedDependencies": _materials(folder),
            },
            "runDetails": {
                "builder": {"id": BUILD_TYPE},
                "metadata": {"invocationId": sha256_file(folder / CHECKSUMS)},
            },
        },
    }


def _materials(folder: Path) -> list[dict[str, Any]]:
    """What the record was made from: data, locks, images and revisions."""
    found: list[dict[str, Any]] = [{"name": MANIFEST, "digest": {"sha256": sha256_file(folder / MANIFEST)}}]
    for shard in _json(folder / MANIFEST)["shards"]:
        found.append({"name": shard["file"], "digest": {"sha256": shard["sha256"]}})
    if not (folder / ENVIRONMENT).is_file():
        return found
    for place in _json(folder / ENVIRONMENT)["environments"]:
        found += [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(place["locks"].items())]
        if place["git"] is not None:
            found.append({"name": "source", "digest": {"gitCommit": place["git"]["revision"]}})
        if place["image"] not in ("none", "unknown"):
            found.append({"name": "image", "uri": place["image"]})
    return [each for number, each in enumerate(found) if each not in found[:number]]


def statement_text(folder: Path) -> str:
    """Its JSON, keys sorted."""
    return json.dumps(statement(folder), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def signed(text: str, key: Path) -> str:
    """The statement in a DSSE envelope, signed with a private key in PEM (Ed25519, ECDSA P-256 or RSA); one line."""
    signer = _signer(key)
    envelope = Envelope(text.encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), sort_keys=True) + "\n"


def new_key(private: Path, public: Path) -> None:
    """A new Ed25519 key pair as PEM files; neither is written over."""
    for path in (private, public):
        if path.exists():
            raise FairwayError(f"{path}: is there already; a key is never written over")
    key = Ed25519PrivateKey.generate()
    write_bytes_atomic(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    write_bytes_atomic(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _signer(key: Path) -> CryptoSigner:
    try:
        return CryptoSigner(load_pem_private_key(key.read_bytes(), None))
    except OSError as error:
        raise FairwayError(f"{key}: cannot be read: {error.strerror}") from error
    except (TypeError, ValueError, SignatureError) as error:
        raise FairwayError(f"{key}: must be an unencrypted private key in PEM: {error}") from error


def crate(folder: Path, workflow: Path) -> str:
    """Text of ro-crate-metadata.json: the workflow, one action that ran it, what went in and what came out."""
    claim, recipe = _json(folder / "submission.json"), _json(folder / RECIPE)
    made = ROCrate()
    root = made.root_dataset
    root["name"], root["description"], root["datePublished"] = claim["name"], claim["blurb"], claim["date"]
    root["license"] = "see README.md"
    profiles = [made.add(ContextEntity(made, url, properties={"@type": "CreativeWork"})) for url in _PROFILES]
    root["conformsTo"] = profiles
    author = {"@type": "Person", "name": claim["author"]}
    person = made.add(ContextEntity(made, f"#{claim['github_id']}", properties=author))
    language = made.add(
        ContextEntity(made, "#snakemake", properties={"@type": "ComputerLanguage", "name": "Snakemake"})
    )
    # Only the metadata are written, so that a remote file is as good as one that lies there.
    kinds = ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    program = made.add_file(None, workflow.name, properties={"@type": kinds, "name": workflow.name})
    program["programmingLanguage"] = language
    root["mainEntity"] = program
    files = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in UNSUMMED and name != CHECKSUMS:
            continue
        files[name] = made.add_file(
            None,
            name,
            properties={"contentSize": str(path.stat().st_size), "sha256": sha256_file(path)},
        )
    inputs = [files[name] for name in (RECIPE, MANIFEST) if name in files]
    results = [entity for name, entity in files.items() if entity not in inputs and name != README]
    action = made.add(
        ContextEntity(
            made,
            f"#run-{recipe['sha256'][:12]}",
            properties={"@type": "CreateAction", "name": f"{recipe['recipe']['name']}, seeds {claim['seeds']}"},
        )
    )
    action["instrument"], action["object"], action["result"], action["agent"] = program, inputs, results, person
    root["mentions"] = [action]
    made.metadata["conformsTo"] = [{"@id": "https://w3id.org/ro/crate/1.1"}]
    return json.dumps(made.metadata.generate(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def attest(folder: Path, *, key: Path | None, workflow: Path) -> list[Path]:
    """Write statement and crate into the folder, and with a key the signed envelope; the files that were written."""
    if key is None and (folder / ENVELOPE).is_file():
        raise FairwayError(f"{folder / ENVELOPE}: is there already; without a key the new statement would be unsigned")
    write_text_atomic(folder / ROCRATE, crate(folder, workflow))  # the statement speaks of it too
    text = statement_text(folder)
    envelope = None if key is None else signed(text, key)
    write_text_atomic(folder / STATEMENT, text)
    if envelope is None:
        return [folder / name for name in (ROCRATE, STATEMENT)]
    write_text_atomic(folder / ENVELOPE, envelope)
    return [folder / name for name in (ROCRATE, STATEMENT, ENVELOPE)]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FairwayError(f"{path}: cannot be read as JSON: {error}") from error
