"""The conformance kit: pseudo-models with known answers that every harness must reproduce."""

from benchmark.conformance.answers import Answer
from benchmark.conformance.kit import Kit, Outcome, check, run, score_kit, write_kit
from benchmark.conformance.pseudo_models import PSEUDO_MODELS, PseudoModel

__all__ = [
    "PSEUDO_MODELS",
    "Answer",
    "Kit",
    "Outcome",
    "PseudoModel",
    "check",
    "run",
    "score_kit",
    "write_kit",
]
