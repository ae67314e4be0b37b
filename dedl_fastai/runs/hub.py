"""`push_run` and `pull_run`: a run on the Hugging Face Hub, as its model card, its weights and JSON files."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, RepositoryNotFoundError
from huggingface_hub.errors import LocalEntryNotFoundError as NothingCached

from ..errors import UserError
from ..io.files import check_is_new, folder_written_whole, write_text
from ..training.model_card import read_card
from ..training.run_folder import RunFolder
from .packing import pack_run
from .readme import README, model_card

FILES = ("*.json", "*.safetensors", README)  # of a run; no file that would have to be trusted
_METADATA = "---\nlibrary_name: dedl-fastai\ntags:\n- {task}\n- microscopy\n---\n\n"  # the hub's own, before the card


def push_run(
    path: str | Path,
    repository: str,  # OWNER/NAME; it is made if it does not exist
    which: str = "best",  # best, last, swa
    public: bool = False,
) -> str:
    """Upload a finished run as `pack_run` packs it, with its README.md as the model card, and return the address.

    What is uploaded predicts as the run does; it has the names of fields and patients in splits.json, and no path. A
    repository that exists keeps its visibility. Raises `UserError` for an unfinished run, without a token, and if the
    hub cannot be reached or refuses.
    """
    run = RunFolder.existing(path)
    if not run.is_complete:
        raise UserError(f"{run.path} is not complete: continue its training with `resume`.")
    if read_card(run)["task"] == "cells":
        raise UserError(f"{run.path} classifies single cells: only runs with a network can be pushed.")
    if get_token() is None:
        raise UserError("the Hugging Face Hub needs a token: log in with `hf auth login`, or set HF_TOKEN.")
    with TemporaryDirectory(prefix="dedl-hub-") as folder, _told(repository):
        pack_run(run.path, folder, which)
        write_text(Path(folder) / README, _hub_card(run))
        api = HfApi()
        api.create_repo(repository, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=list(FILES), commit_message="A run of dedl-fastai"
        )
        return f"{api.endpoint}/{repository}"


def pull_run(repository: str, out: str | Path, revision: str | None = None) -> RunFolder:
    """Download a run that was pushed into a new folder. Raises `UserError` if there is none or the hub is not reached.

    `revision` is a commit, branch or tag (default: the newest). Files of other kinds are not downloaded.
    """
    check_is_new(out)
    with folder_written_whole(out) as folder:
        with _told(repository):
            HfApi().snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(FILES))
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        if not (folder / "model.json").is_file():
            raise UserError(f"{repository} is not a run of dedl-fastai: it has no model.json.")
    return RunFolder.existing(out)


def _hub_card(run: RunFolder) -> str:
    card = model_card(run)
    return card if card.startswith("---") else _METADATA.format(task=read_card(run)["task"]) + card


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """Raise errors of the hub as a `UserError`."""
    try:
        yield
    except HFValidationError as e:
        raise UserError(f"{repository!r} is not the name of a repository: give OWNER/NAME.") from e
    except RepositoryNotFoundError as e:
        raise UserError(
            f"there is no repository {repository} on the hub, or your token does not open it: check the name, or log "
            f"in with `hf auth login`."
        ) from e
    except HfHubHTTPError as e:
        reason = e.server_message or f"status {e.response.status_code}"
        raise UserError(f"the hub refused {repository} ({reason}): check your token and its rights.") from e
    except (HTTPError, ConnectionError, TimeoutError, NothingCached) as e:
        raise UserError(
            f"{repository}: the Hugging Face Hub cannot be reached ({type(e).__name__}): check the network, and that "
            f"the variable HF_HUB_OFFLINE is not set."
        ) from e
