"""What a run of a campaign has before it: one plan of its stages, without what earlier runs have measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from dibench.errors import UserError
from dibench.plan import Case, Plan, ordering
from dibench.plan.build import sha_of
from dibench.plan.stages import Stage, Stages, in_turns


@attrs.frozen
class Campaign:
    """What a run has before it."""

    plan: Plan
    stages: tuple[Stage, ...]
    """All of the campaign, with what earlier runs have measured."""
    left_out: Mapping[str, str]
    """Stages that this machine cannot measure, and why."""
    stage_of: Mapping[str, str] = attrs.field(repr=False)
    """By case_id, of all cases that are no sentinels."""


def plan_campaign(
    found: Stages,
    *,
    seed: int,
    done: Collection[str],
    without: Collection[str] = (),
    again: bool = False,
    first_order: int = 1,
) -> Campaign:
    """One plan of what is left.

    Stages of share 0 come first; then the one whose visits lag furthest behind its share has the turn.
    Sentinels stand in between, as in every plan.

    Args:
        found: of `load_stages`.
        seed: of the order in which cases are visited again.
        done: ids of cases that earlier runs have measured.
        without: kernel variants that are not to be measured. The plan's SHA is that of all cases: a kernel
            found wrong later does not make another campaign of it.
        again: the card is another one: measure stages that are for every card also where they are done, and
            pairs of which one half is.
        first_order: of the first case. Orders go on from earlier runs, so that sentinels, whose ids contain
            theirs, have ids of their own.

    Raises:
        UserError: nothing is left, or no right kernel runs the sentinel.
    """
    owed, stages = set[str](), found.stages
    for stage in stages if again else ():
        if stage.every_card:
            owed |= {case.case_id for case in stage.cases}
        if stage.pairs:
            owed |= _torn(stage, done)
    stage_of = {case.case_id: stage.name for stage in stages for case in stage.cases}
    left = [case for case in in_turns(stages) if case.case_id in owed or case.case_id not in done]
    if not left:
        raise UserError("--resume", "must leave something to measure: every case of the campaign is there")
    sha = sha_of(_numbered(left, found.sentinel, first_order))
    right = [case for case in left if case.variant not in without]
    cases = _numbered(right, found.right_sentinel(without), first_order)
    plan = Plan("campaign", "a campaign in stages", "cuda", cases, seed, sha, {})
    return Campaign(plan, stages, found.left_out, stage_of)


def _numbered(cases: Sequence[Case], sentinel: Case, first_order: int) -> tuple[Case, ...]:
    with_sentinels = ordering.with_sentinels(cases, sentinel)
    return tuple(
        attrs.evolve(case, order=order) for order, case in enumerate(with_sentinels, start=first_order)
    )


def _torn(stage: Stage, done: Collection[str]) -> set[str]:
    """Both halves of each pair that has one half on the card before: two cards are no pair."""
    ids = [case.case_id for case in stage.cases]
    pairs = zip(ids[::2], ids[1::2], strict=True)
    return {half for pair in pairs for half in pair if (pair[0] in done) != (pair[1] in done)}
