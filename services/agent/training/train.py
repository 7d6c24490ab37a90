#!/usr/bin/env python3
"""Train the detector of opencrust_agent.assess, and print how good it is.

    pip install --require-hashes -r requirements/training.txt
    python services/agent/training/train.py FOLDER             trains, evaluates, writes the model file
    python services/agent/training/train.py FOLDER --no-write  only prints the table
    python services/agent/training/train.py FOLDER --second-opinion
                       the table of the model and the second opinion together; writes their thresholds, no model

FOLDER holds ``*.jsonl`` of {"text", "label", "source", "kind"}. The same folder and versions give the same model file.
Evaluation: each source is scored by models trained without its family and without near-duplicates of its rows; false
positives are averaged over benign sources. AgentDojo's texts are never trained on.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[2] / "shared")]

import corpus  # noqa: E402
import fit  # noqa: E402
import table  # noqa: E402
import written  # noqa: E402
from corpus import Row  # noqa: E402

from opencrust_agent.assess import Assessor, second  # noqa: E402
from opencrust_agent.assess.assessor import shipped_rules  # noqa: E402
from opencrust_agent.assess.model import Model, dump  # noqa: E402

TARGET = HERE.parent / "opencrust_agent" / "assess" / "data" / "model.bin"
WORDS = TARGET.with_name("words.txt")
SECOND = TARGET.with_name("second.json")
STRENGTH = 0.03
ANY = {"5": 2.0, "1": 2.0, "0.5": 2.0, "0.2": 2.0}


def main() -> int:
    """Train, evaluate, write."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("folder", type=Path, help="the labelled texts")
    parser.add_argument("--no-write", action="store_true", help="leave the model file as it is")
    parser.add_argument("--output", type=Path, default=TARGET, help="where to write the model")
    parser.add_argument("--scores", type=Path, help="also write the score of every row, as unseen, to this file")
    parser.add_argument("--second-opinion", action="store_true", help="ask it too (requirements/second-opinion.txt)")
    options = parser.parse_args()
    opinion = second.SecondOpinion(second.folder()) if options.second_opinion else None
    rows = [row for row in corpus.read(options.folder) if "agentdojo" not in row.source]
    if not rows:
        parser.error(f"{options.folder} holds no *.jsonl")
    collected = len(rows)
    words = "\n".join(corpus.common_words([row for row in rows if row.source != corpus.MISLABELLED])) + "\n"
    if not options.no_write and opinion is None:
        WORDS.write_text(words, "ascii")
    elif words != WORDS.read_text("ascii"):
        fit.say("the shipped word list is of other texts")
    own = written.rows()
    rows += own + written.embedded(own, rows)
    rules = shipped_rules()
    data = fit.examples(rows, rules)
    alike = corpus.near_duplicates(rows)
    fit.say(f"{len(rows)} rows, {len(data.row)} chunks, {len(alike)} near-duplicates across families")
    families = sorted({row.family for row in rows})

    def _may_train(r: int, family: str) -> bool:
        if rows[r].source == corpus.MISLABELLED:
            return False
        return rows[r].family != family and family not in rows[r].made_of and family not in alike.get(r, ())

    def second_stage(family: str, first: Model) -> Model:
        """``first`` with its second stage, fitted without a family (empty: with all)."""
        used = [seen[f].only([_may_train(r, family) for r in seen[f].row]) for f in families]
        return fit.second_stage(used, rows, first, rules, STRENGTH)

    firsts: dict[str, Model] = {}
    seen: dict[str, fit.Seen] = {}
    of_row = np.array([row.family for row in rows])
    for family in families:
        use = np.array([_may_train(r, family) for r in data.row])
        firsts[family] = fit.first_stage(data, rows, use, rules)
        numbers = np.flatnonzero(of_row == family).tolist()
        seen[family] = fit.inputs(firsts[family], data.scans, numbers[:: max(1, len(numbers) // 2500)], rows, rules)
        fit.say(f"without {family}")
    whole = second_stage("", next(iter(firsts.values())))
    for family in families:  # again, from the windows that a fitted model looks at
        model = fit.with_stages(firsts[family], whole, rules)
        numbers = np.flatnonzero(of_row == family).tolist()
        seen[family] = fit.inputs(model, data.scans, numbers[:: max(1, len(numbers) // 2500)], rows, rules)
    fit.say("second stage")
    assessors = {
        family: Assessor(rules, _without_thresholds(second_stage(family, firsts[family])), opinion)
        for family in families
    }
    fit.say("scoring")

    def score(row: Row, text: str) -> float:
        return assessors[row.family].assess(text, row.source).score

    chosen = [rows[n] for n in table.sample(rows[:collected])]
    scores = table.Scores(chosen, [score(row, row.text) for row in chosen])
    if options.scores:
        lines = [
            json.dumps({"source": r.source, "attack": r.attack, "score": s, "text": r.text[:2000]})
            for r, s in zip(chosen, scores.all, strict=True)
        ]
        options.scores.write_text("\n".join(lines) + "\n")
    thresholds = {name: round(scores.threshold(float(name) / 100), 6) for name in ANY}
    print("\n".join(table.sources(scores)))
    print("\n".join(table.obfuscation(chosen, score, thresholds["1"])))
    print("\n".join(table.dilution(chosen, score, thresholds["1"])))
    if opinion is not None:
        print("\n".join(table.latency(chosen, next(iter(assessors.values())).assess)))
        print(f"thresholds {thresholds}")
        if not options.no_write:
            _write_second(thresholds, scores.macro(thresholds["1"]))
        return 0
    fit.say("the model of all sources")
    whole = fit.first_stage(data, rows, np.array([_may_train(r, "") for r in data.row]), rules)
    whole = second_stage("", whole)
    provenance = {
        "rules": rules.version,
        "rows": collected,
        "own_rows": len(rows) - collected,
        "sources": sorted({row.source for row in rows}),
        "data_sha256": hashlib.sha256(
            b"".join(f.read_bytes() for f in sorted(options.folder.glob("*.jsonl")))
        ).hexdigest(),
        "macro_tpr_at_1_percent": round(scores.macro(thresholds["1"]), 3),
        "script": "services/agent/training/train.py",
    }
    header = replace(whole.header, version=f"1-{rules.version}", provenance=provenance, thresholds=thresholds)
    packed = dump(header, *whole.tables)
    print("\n".join(table.latency(chosen, Assessor(rules, Model(header, *whole.tables, rules)).assess)))
    print(f"thresholds {thresholds}\nmodel file {len(packed)} bytes, sha256 {hashlib.sha256(packed).hexdigest()[:16]}")
    if not options.no_write:
        options.output.write_bytes(packed)
    return 0


def _write_second(thresholds: dict[str, float], macro: float) -> None:
    settings = json.loads(SECOND.read_bytes())
    settings["thresholds"] = thresholds
    settings["provenance"] = {
        "macro_tpr_at_1_percent": round(macro, 3),
        "model_sha256": hashlib.sha256(TARGET.read_bytes()).hexdigest(),
        "script": "services/agent/training/train.py --second-opinion",
    }
    SECOND.write_text(json.dumps(settings, indent=2) + "\n")


def _without_thresholds(model: Model) -> Model:
    model.header.thresholds.update(ANY)
    return model


if __name__ == "__main__":
    sys.exit(main())
