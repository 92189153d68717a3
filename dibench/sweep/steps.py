"""What a sweep still has to measure, and which device may take which step.

A step is one visit to a case. A free device takes the next step that it may take. It may not take

- a case that another device has visited before: the visits of a case are made on one card, as are cases
  that are compared with each other (`Case.together`), since every card's sensor has a gain of its own;
- a sentinel while another device has had fewer: each card gets its share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dibench.plan import Case

_Key = str | int


class Steps:
    """The remaining steps in measuring order: each case once for every visit that it still needs."""

    def __init__(self, steps: Sequence[Case], homes: Mapping[_Key, str], made: Mapping[str, int]) -> None:
        """Begin with all steps.

        Args:
            steps: in measuring order.
            homes: the device that cases are bound to by what was measured earlier, by `key_of`.
            made: visits that a case has on its device already, by its id.
        """
        self._left = list(steps)
        self._homes = dict(homes)
        self._made = Counter(made)
        self._sentinels: Counter[str] = Counter()
        visits = Counter(case.case_id for case in self._left)
        self._several = {case_id for case_id, number in visits.items() if number > 1}

    def __len__(self) -> int:
        return len(self._left)

    def upcoming(self, number: int) -> list[Case]:
        """The next cases, whichever device takes them."""
        return self._left[:number]

    def take(self, uuid: str, among: Iterable[str]) -> Case | None:
        """Take the next step for a device; None where only other devices may take what is left.

        >>> from dibench.layer import Layer
        >>> from dibench.plan import Case
        >>> case = Case(layer=Layer.fc(N=1, C=2, K=3), backend="cpu", variant="fc_dot", visits=2)
        >>> steps = Steps([case, case], {}, {})
        >>> [steps.take(uuid, ("a", "b")) is case for uuid in ("a", "b", "a")]
        [True, False, True]
        """
        served = self._sentinels[uuid] <= min((self._sentinels[other] for other in among), default=0)
        waiting = None
        for index, case in enumerate(self._left):
            if self._homes.get(key_of(case), uuid) != uuid:
                continue
            if not case.sentinel or served:
                return self._taken(index, uuid)
            waiting = index if waiting is None else waiting
        return None if waiting is None else self._taken(waiting, uuid)

    def _taken(self, index: int, uuid: str) -> Case:
        case = self._left.pop(index)
        self._homes[key_of(case)] = uuid
        self._made[case.case_id] += 1
        self._sentinels[uuid] += case.sentinel
        return case

    def put_back(self, case: Case, after: int = 0) -> None:
        """Put a step back that was not measured, as the next one or after some others."""
        self._made[case.case_id] -= 1
        self._left.insert(after, case)
        if self._left.count(case) > 1:
            self._several.add(case.case_id)

    def drop(self, case: Case) -> None:
        """Drop the remaining visits of a case that has its row."""
        if case.case_id in self._several:
            self._left = [other for other in self._left if other.case_id != case.case_id]

    def drop_variant(self, variant: str) -> list[Case]:
        """Drop all steps of a kernel; returns its cases that had one left."""
        dropped = {case.case_id: case for case in self._left if case.variant == variant}
        self._left = [case for case in self._left if case.variant != variant]
        return list(dropped.values())

    def forget(self, uuid: str) -> None:
        """Drop the steps that only a lost device may take."""
        self._left = [case for case in self._left if self._homes.get(key_of(case)) != uuid]

    def lose(self, uuid: str) -> None:
        """Release what was bound to a lost device: those cases start over, each on one device."""
        self._homes = {key: home for key, home in self._homes.items() if home != uuid}
        for case in {case.case_id: case for case in self._left}.values():
            if key_of(case) not in self._homes:
                self._left += [case] * self._made.pop(case.case_id, 0)
                self._several.add(case.case_id)


def key_of(case: Case) -> _Key:
    """What is bound to one device: the case, or the group of cases it is compared with."""
    return case.together or case.case_id
