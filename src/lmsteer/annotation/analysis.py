"""Answers to a result: preferences, agreement, position bias, checks, correlations with scorers."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from lmsteer.annotation import agreement
from lmsteer.annotation.annotation_result import (
    Agreement,
    AnnotationResult,
    Check,
    Correlation,
    Estimate,
    ModelResult,
    PairResult,
    RowResult,
    SignResult,
    Strength,
    limits,
)
from lmsteer.annotation.answer_key import Study
from lmsteer.annotation.bradley_terry import bradley_terry
from lmsteer.annotation.judgements import OUTCOMES, Judgement, join_judgements
from lmsteer.annotation.preferences import (
    first_share,
    outcome_counts,
    outcome_shares,
    preferred_share,
    sign_test,
)
from lmsteer.annotation.questionnaire import CHOICES
from lmsteer.annotation.rater_answers import Answer
from lmsteer.annotation.rater_checks import check_raters
from lmsteer.annotation.scorer_correlation import Scores, correlate
from lmsteer.errors import InputError
from lmsteer.metrics.intervals import Array

ByQuestion = Mapping[str, Sequence[Judgement]]


def analyze(
    answers: Sequence[Answer], study: Study, scores: Scores, *, exclude: Sequence[str] = (), seed: int = 0
) -> AnnotationResult:
    """Analyze checked answers to a questionnaire; those of models are never mixed with those of people.

    Args:
        scores: Automatic scores of the items, by scorer.
        exclude: Raters whose answers are left out.
        seed: Seed of the bootstrap.

    Raises:
        InputError: If a rater to exclude is unknown, or no answer of a person is left.
    """
    if unknown := [rater for rater in exclude if rater not in {answer.rater for answer in answers}]:
        raise InputError(f"exclude={unknown[0]}: no such rater")
    answers = [answer for answer in answers if answer.rater not in exclude]
    people = [answer for answer in answers if not answer.is_model]
    judgements = join_judgements(people, study)
    main = [judgement for judgement in judgements if judgement.kind == "main"]
    if not main:
        raise InputError("answers: none of a person to an item that is no check; nothing to analyze")
    questions = {question.name: question.words for question in study.questionnaire.questions}
    by_question: ByQuestion = {name: group for name in questions if (group := [j for j in main if j.question == name])}
    checks = check_raters(people, judgements, study)
    times = [check.seconds for check in checks if check.seconds is not None]
    return AnnotationResult(
        schema=1,
        form=study.questionnaire.form,
        questionnaire=study.questionnaire.digest,
        protocol=study.key.protocol,
        questions={name: questions[name] for name in by_question},
        raters=len({answer.rater for answer in people}),
        answers=len(main),
        items=len({judgement.item for judgement in main}),
        excluded=tuple(exclude),
        pairs=tuple(pair for group in by_question.values() for pair in _pairs(group, study, seed)),
        rows=tuple(row for group in by_question.values() for row in _rows(group, study, seed)),
        agreement={name: _agreement(group, study) for name, group in by_question.items()},
        bradley_terry={name: fit for name, group in by_question.items() if (fit := _strengths(group, study, seed))},
        position={
            name: Estimate.of(share) for name, group in by_question.items() if (share := first_share(group, seed=seed))
        },
        checks=tuple(_check(asdict(check)) for check in checks),
        correlations=tuple(
            Correlation(scorer=scorer, question=name, items=items, estimate=Estimate.of(interval))
            for name, group in by_question.items()
            for scorer, (interval, items) in correlate(group, scores, study, seed=seed).items()
        ),
        models=tuple(_models([a for a in answers if a.is_model], by_question, study, seed)),
        seconds=statistics.median(times) if times else None,
    )


def _pairs(judgements: Sequence[Judgement], study: Study, seed: int) -> list[PairResult]:
    results = []
    for a, b in study.key.pairs:
        if of_pair := [judgement for judgement in judgements if judgement.rows == (a, b)]:
            counts_PO = outcome_counts(of_pair)
            shares = outcome_shares(counts_PO, seed=seed)
            test = SignResult.model_validate(asdict(sign_test(counts_PO)))
            facts = {"a": a, "b": b, "question": of_pair[0].question, "n": len(of_pair), "prompts": len(counts_PO)}
            values = {outcome: share.value for outcome, share in shares.items()}
            intervals = {outcome: limits(share) for outcome, share in shares.items()}
            results.append(PairResult.model_validate(facts | values | {"intervals": intervals, "sign_test": test}))
    return results


def _rows(judgements: Sequence[Judgement], study: Study, seed: int) -> list[RowResult]:
    is_single, results = study.questionnaire.form == "single", []
    for name, key in study.key.rows.items():
        first = [judgement for judgement in judgements if judgement.rows[0] == name]
        second = [judgement for judgement in judgements if judgement.rows[1:] == (name,)]
        if not first and not second:
            continue
        counts_PO = _of_row(first, second)
        shares = outcome_shares(counts_PO, seed=seed) if is_single else {}
        results.append(
            RowResult(
                row=name,
                question=judgements[0].question,
                preferred=Estimate.of(preferred_share(counts_PO, seed=seed)),
                shares=dict(zip(CHOICES["single"], map(Estimate.of, shares.values()), strict=False)),  # type: ignore[arg-type]
                n=len(first) + len(second),
                key=key,
            )
        )
    return results


def _of_row(first: Sequence[Judgement], second: Sequence[Judgement]) -> Array:
    """Count outcomes by prompt for a row that is the first one of some pairs and the second one of others."""
    prompts = list(dict.fromkeys(judgement.prompt for judgement in (*first, *second)))
    counts_PO = np.zeros((len(prompts), len(OUTCOMES)))
    for judgements, step in ((first, 1), (second, -1)):
        for judgement in judgements:
            counts_PO[prompts.index(judgement.prompt), OUTCOMES[::step].index(judgement.outcome)] += 1
    return counts_PO


def _agreement(judgements: Sequence[Judgement], study: Study) -> Agreement:
    items: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        items.setdefault(judgement.item, []).append(judgement)

    def counts(attribute: str, categories: Sequence[str]) -> Array:
        return agreement.count_ratings(
            [[getattr(j, attribute) for j in of_item] for of_item in items.values()], categories
        )

    named_IC = counts("preferred", sorted({judgement.preferred for judgement in judgements}))
    main = [item for item, key in study.key.items.items() if key.kind == "main"]
    return Agreement(
        alpha_nominal=agreement.krippendorff_alpha(named_IC),
        alpha_ordinal=agreement.krippendorff_alpha(counts("outcome", OUTCOMES), "ordinal"),
        alpha_shown=agreement.krippendorff_alpha(counts("shown", study.questionnaire.choices)),
        fleiss_kappa=agreement.fleiss_kappa(named_IC),
        raw=agreement.raw_agreement(named_IC),
        items=sum(len(of_item) > 1 for of_item in items.values()),
        below=sum(len(items.get(item, ())) < study.questionnaire.raters for item in main),
    )


def _strengths(judgements: Sequence[Judgement], study: Study, seed: int) -> tuple[Strength, ...]:
    """Fit Bradley-Terry strengths of three or more rows; empty for fewer."""
    matches = [pair for pair in study.key.pairs if any(judgement.rows == pair for judgement in judgements)]
    if len({row for pair in matches for row in pair}) < 3:
        return ()
    prompts = list(dict.fromkeys(judgement.prompt for judgement in judgements))
    counts_PMO = np.zeros((len(prompts), len(matches), len(OUTCOMES)))
    for judgement in judgements:
        match = matches.index((judgement.rows[0], judgement.rows[1]))
        counts_PMO[prompts.index(judgement.prompt), match, OUTCOMES.index(judgement.outcome)] += 1
    return tuple(Strength.model_validate(asdict(row)) for row in bradley_terry(counts_PMO, matches, seed=seed))


def _check(check: dict[str, object]) -> Check:
    counts = {name: (value["matching"], value["n"]) for name, value in check.items() if isinstance(value, dict)}
    careless = {"careless": check.pop("reasons")}
    return Check.model_validate(check | counts | careless)


def _models(answers: Sequence[Answer], people: ByQuestion, study: Study, seed: int) -> list[ModelResult]:
    results = []
    judgements = [judgement for judgement in join_judgements(answers, study) if judgement.kind == "main"]
    for rater in dict.fromkeys(judgement.rater for judgement in judgements):
        for name, of_people in people.items():
            of_model = [judgement for judgement in judgements if (judgement.rater, judgement.question) == (rater, name)]
            majority = _majority(of_people)
            both = [[majority[j.item], j.preferred] for j in of_model if j.item in majority]
            counts = agreement.count_ratings(both, sorted({name for pair in both for name in pair}))
            results.append(
                ModelResult(
                    rater=rater,
                    question=name,
                    pairs=tuple(_pairs(of_model, study, seed)),
                    raw=agreement.raw_agreement(counts) if both else None,
                    alpha=agreement.krippendorff_alpha(counts) if both else None,
                    items=len(both),
                )
            )
    return results


def _majority(judgements: Sequence[Judgement]) -> dict[str, str]:
    """Return the answer that most people gave, by item; items without one are left out."""
    votes: dict[str, Counter[str]] = {}
    for judgement in judgements:
        votes.setdefault(judgement.item, Counter())[judgement.preferred] += 1
    ranked = {item: counter.most_common(2) for item, counter in votes.items()}
    return {item: best[0][0] for item, best in ranked.items() if len(best) == 1 or best[0][1] > best[1][1]}
