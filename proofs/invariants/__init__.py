"""Invariants written for people: for each shipped strategy a handful of lemmas, each with the reason for it."""

from __future__ import annotations

from models.compose import StrategyModel
from models.model import Model
from proofs.invariants import (
    always_iterator,
    batched_stubs,
    careful_call_to_call,
    nop_then_back,
    permanent,
    stop_machine,
    text_poke_batch,
)
from proofs.lemma import Invariant
from proofs.vocabulary import Words

_MODULES = (
    always_iterator,
    batched_stubs,
    careful_call_to_call,
    nop_then_back,
    permanent,
    stop_machine,
    text_poke_batch,
)
_WRITTEN = {name: makers for module in _MODULES for name, makers in module.WRITTEN.items()}


def written(model: Model) -> Invariant | None:
    """The invariant written for the model's strategy, if there is one. It is not trusted: it is to be proved.

    It was written for the strategy as it is shipped. Without some of its steps, or on a machine that promises less, it
    may fail to be inductive.
    """
    if not isinstance(model, StrategyModel):
        return None
    makers = _WRITTEN.get(model.plan.strategy.name)
    if makers is None:
        return None
    words = Words(model)
    lemmas = (make(words) for make in makers)
    return Invariant(tuple(lemma for lemma in lemmas if lemma is not None), "written", 1)
