"""Proofs as files that other solvers can check: one SMT-LIB 2 script for each obligation, and a manifest.

Every script is complete in itself, says which answer is expected, and is the same text each time for the same invariant.
(An invariant that was *found* can differ with what Z3 was asked before in the same process.)
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import z3

from proofs.fingerprint import lemmas_hash, system_hash
from proofs.induction import Obligation
from proofs.prove import Proof

EXPECTED = "unsat"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Script:
    """One obligation as SMT-LIB 2; `name` is a file name."""

    name: str
    text: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def scripts(proof: Proof) -> Iterator[Script]:
    """The obligations of a proof."""
    system, lemmas = system_hash(proof.system), lemmas_hash(proof.invariant.lemmas)
    for number, obligation in enumerate(proof.obligations, 1):
        yield Script(_file_name(number, obligation), _text(obligation, system, lemmas))


def certificate_hash(proof: Proof) -> str:
    """SHA-256 over all scripts."""
    total = hashlib.sha256()
    for script in scripts(proof):
        total.update(f"{script.name} {script.hash}\n".encode())
    return total.hexdigest()


def write(proof: Proof, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write the scripts and the manifest into `folder`, which is made; `about` goes into the manifest.

    Raises OSError where files cannot be written, FileExistsError where the folder holds other things.
    """
    folder.mkdir(parents=True, exist_ok=True)
    strange = [p for p in folder.iterdir() if p.suffix != ".smt2" and p.name != MANIFEST]
    if strange:
        raise FileExistsError(errno.EEXIST, f"holds something else than a certificate: {strange[0].name}", str(folder))
    for old in folder.glob("*.smt2"):
        old.unlink()
    written = []
    files = {}
    for script in scripts(proof):
        path = folder / script.name
        path.write_text(script.text, encoding="utf-8")
        written.append(path)
        files[script.name] = {"sha256": script.hash, "expected": EXPECTED}
    manifest = {
        **about,
        "system": system_hash(proof.system),
        "invariant": lemmas_hash(proof.invariant.lemmas),
        "instances": proof.invariant.index,
        "lemmas": {lemma.name: lemma.says for lemma in proof.invariant.lemmas},
        "files": files,
    }
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [*written, path]


def _file_name(number: int, obligation: Obligation) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", obligation.name.lower()).strip("-")
    return f"{number:03}-{words}.smt2"


def _text(obligation: Obligation, system: str, lemmas: str) -> str:
    """The script: what Z3 prints of the assertions, under our own head.

    In a context of its own, as Z3 shares and names subterms according to what else there is.
    """
    body: str = obligation.solver().translate(z3.Context()).to_smt2()
    start = body.index("(declare-fun") if "(declare-fun" in body else body.index("(assert")
    head = (
        f"; {obligation.name}\n; system {system}\n; lemmas {lemmas}\n"
        "; the premises hold and one of the goals does not: no such state, so the answer is unsat\n"
        f"(set-logic QF_BV)\n(set-info :status {EXPECTED})\n"
    )
    return head + body[start:]
