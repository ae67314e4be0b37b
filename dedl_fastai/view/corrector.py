"""`Corrector`: corrections of one field from the page; each is on the disk before the page hears of it."""

import logging
import threading
from pathlib import Path

from ..errors import UserError
from ..io.corrections import Action, shows
from ..predict.correcting import Corrected
from ..predict.corrections import StaleError, append, labels_file, open_corrections, read_actions, write_labels

log = logging.getLogger(__name__)

_QUIET_S = 1.0  # without actions, before the label image is written; more for slides, which take longer
_PIXELS_PER_S = 2e7


class Corrector:
    """Applies actions to a field, writes them to its log, and its label image when no action follows for a while."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self._lock, self._writing = threading.RLock(), threading.Lock()
        self._timer: threading.Timer | None = None
        self.corrected: Corrected = open_corrections(folder, name)
        height, width = self.corrected.labels.shape
        self._quiet = _QUIET_S + height * width / _PIXELS_PER_S

    def act(self, action: Action, after: int) -> Action:
        """Apply an action that follows revision `after`, and return it with its revision when it is on the disk.

        Raises `StaleError` if the field has another revision, and `UserError` for impossible actions.
        """
        with self._lock:
            self.refresh()
            if after == self.corrected.revision:
                self.corrected.check_place(action)
                action = self.corrected.apply(action)
                try:
                    action = append(self.folder, self.name, action, after)
                except (UserError, OSError):  # it is not in the log, so it did not happen
                    self._reopen()
                    raise
                self.write_later()
                return action
            raise StaleError(
                f"The field {self.name!r} was changed in another page or by another process meanwhile: nothing was "
                f"done. Look at it again, and repeat the correction."
            )

    def refresh(self) -> None:
        """Read the corrections again if another process has added some."""
        with self._lock:
            if len(read_actions(self.folder, self.name)) != self.corrected.revision:
                self._reopen()

    def _reopen(self) -> None:
        self.corrected.labels.close()
        self.corrected = open_corrections(self.folder, self.name)

    def write_later(self) -> None:
        """Write the label image if no action follows for a while."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._quiet, self._write)
        self._timer.daemon = True
        self._timer.start()

    def _write(self) -> None:
        with self._writing:
            try:
                self._write_newest()
            except (UserError, OSError) as e:  # the log has all of it
                log.warning("%s", e)

    def _write_newest(self) -> None:
        with self._lock:
            self.refresh()  # another process may have added actions
            labels, revision = self.corrected.labels.snapshot(), self.corrected.revision
        try:
            actions = read_actions(self.folder, self.name)[:revision]
            if not shows(labels_file(self.folder, self.name), actions):  # else another process has written it
                write_labels(self.folder, self.name, labels, revision)
        finally:
            labels.close()

    def close(self) -> None:
        """Write the label image if it is behind, and close the files."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()
        self.corrected.labels.close()
