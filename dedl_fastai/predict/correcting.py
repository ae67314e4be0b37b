"""`Corrected`: the labels of a field under correction, to which actions are applied; undo and redo are actions too."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..cells import editing
from ..errors import UserError
from ..io.corrections import Action
from .edited_labels import Box, EditedLabels, box_of_points, clipped, enclosing, grown

_MARGIN = 8  # pixels around the nuclei of an action


@dataclass(frozen=True)
class _Step:
    """An action, and what it changed in the labels."""

    action: Action
    box: Box | None = None
    before: np.ndarray | None = None
    after: np.ndarray | None = None


class Corrected:
    """The labels, types and checked regions of a field after its corrections."""

    def __init__(self, labels: EditedLabels, highest: Callable[[], int]):  # the highest id before any correction
        self.labels, self.revision = labels, 0
        self._highest, self._highest_new = highest, 0
        self._done: list[_Step] = []
        self._undone: list[_Step] = []

    @property
    def actions(self) -> list[Action]:
        """The actions that hold, without undone ones."""
        return [step.action for step in self._done]

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether the last action was undone."""
        return bool(self._undone)

    def apply(self, action: Action) -> Action:
        """Apply an action and return it with the ids of new nuclei. Raises `UserError` if that is impossible."""
        if action.action == "undo":
            self._move(self._done, self._undone, back=True)
        elif action.action == "redo":
            self._move(self._undone, self._done, back=False)
        else:
            step = self._step(replace(action, revision=self.revision + 1))
            self._write(step, step.after)
            self._done.append(step)
            self._undone.clear()
            self._highest_new = max(self._highest_new, *step.action.labels, 0)
            action = step.action
        self.revision += 1
        return action

    def check_place(self, action: Action) -> None:
        """Raise a `UserError` for an outline that is not where the nucleus is that it is to replace.

        This is for new actions, and not part of `apply`: logs of earlier versions may hold such outlines, which then
        added a second piece.
        """
        if action.action != "draw" or not action.labels or not action.points:
            return
        box, label = self._box_around(np.array(action.points, float)), action.labels[0]
        if not (self.labels.read(box) == label).any():
            raise UserError(
                f"the nucleus {label} is not there: draw the outline around the nucleus, or delete it and draw a new "
                f"one."
            )

    def _move(self, source: list[_Step], target: list[_Step], back: bool) -> None:
        if not source:
            raise UserError(f"there is nothing to {'undo' if back else 'redo'}.")
        step = source.pop()
        self._write(step, step.before if back else step.after)
        target.append(step)

    def _write(self, step: _Step, pixels: np.ndarray | None) -> None:
        if step.box is not None and pixels is not None:
            self.labels.write(step.box, pixels)

    def _step(self, action: Action) -> _Step:
        if action.action in ("check", "uncheck"):
            if action.points is not None and len(action.points) < 3:
                raise UserError("a region needs at least three points.")
            return _Step(action)
        if action.action == "type":
            if not action.labels or action.type is None:
                raise UserError("a type needs a nucleus and a name.")
            return _Step(action)
        changes = {"delete": self._delete, "merge": self._merge, "split": self._split, "draw": self._draw}
        if action.action not in changes or action.points is None:
            raise UserError(f"{action.action!r} is no correction, or has no place.")
        return changes[action.action](action, np.array(action.points, float).reshape(-1, 2))

    def _delete(self, action: Action, places: np.ndarray) -> _Step:
        box = self._box(action.labels, places)
        before = after = self.labels.read(box)
        for label in action.labels:
            after = editing.deleted(after, label)
        return _Step(action, box, before, after)

    def _merge(self, action: Action, places: np.ndarray) -> _Step:
        if len(set(action.labels)) < 2:
            raise UserError("a merge needs two nuclei.")
        box = self._box(action.labels, places)
        before = after = self.labels.read(box)
        for label in action.labels[1:]:
            after = editing.merged(after, action.labels[0], label)
        return _Step(action, box, before, after)

    def _split(self, action: Action, line: np.ndarray) -> _Step:
        if not action.labels or len(line) < 2:
            raise UserError("a split needs a nucleus and a line.")
        label, *new = action.labels
        box = clipped(grown(self.labels.box_of(label, box_of_points(line)), _MARGIN), self.labels.shape)
        before = self.labels.read(box)
        first_new = new[0] if new else self._next_id()
        after, ids = editing.split(before, label, line - _corner(box), first_new)
        return _Step(replace(action, labels=(label, *ids)), box, before, after)

    def _draw(self, action: Action, outline: np.ndarray) -> _Step:
        if len(outline) < 3:
            raise UserError("an outline needs three points.")
        box = self._box_around(outline)
        label = action.labels[0] if action.labels else self._next_id()
        if (self.labels.read(box) == label).any():  # it is drawn again
            box = enclosing(box, self.labels.box_of(label, box))
        before = self.labels.read(box)
        after = editing.drawn(before, label, outline - _corner(box))
        return _Step(replace(action, labels=(label,)), box, before, after)

    def _box_around(self, outline: np.ndarray) -> Box:
        return clipped(grown(box_of_points(outline), _MARGIN), self.labels.shape)

    def _box(self, labels: tuple[int, ...], places: np.ndarray) -> Box:
        """The pixels of all nuclei of an action, with a margin."""
        if not labels or len(labels) != len(places):
            raise UserError("each nucleus needs a place.")
        boxes = [self.labels.box_of(i, box_of_points(p[None])) for i, p in zip(labels, places, strict=True)]
        return clipped(grown(enclosing(*boxes), _MARGIN), self.labels.shape)

    def _next_id(self) -> int:
        return max(self._highest(), self._highest_new) + 1


def _corner(box: Box) -> np.ndarray:
    return np.array([box[1], box[0]], float)
