"""Where a MODEL is: a run directory, a Hugging Face directory, or a name on the Hub."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from nextword.errors import UserError

WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
UNWANTED = ["*/*", "consolidated*", "*.onnx*", "training_args*"]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def resolve(name_or_path: str | PathLike[str]) -> Path:
    """The directory that holds config.json and weights.

    Only safetensors, JSON, text and chat templates are taken from the Hub, and only where nothing
    of that name is on this machine. Raises UserError where there is no such model.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return _inside(path)
    if path.exists():
        raise UserError("is a file, not a model's directory", where=path)
    name = str(name_or_path)
    if HUB_NAME.fullmatch(name) and ".." not in name:
        return _from_hub(name)
    raise UserError("no such directory", where=path)


def _inside(path: Path) -> Path:
    for directory in (path, path / "model"):
        if (directory / "config.json").is_file():
            return directory
    if (path / "config.yaml").is_file() or (path / "checkpoints").is_dir():
        raise UserError(
            "this run has kept no model yet",
            where=path,
            mend="go on with `nextword pretrain --resume` until its first validation",
        )
    raise UserError(
        "holds no model: neither config.json nor model/config.json is there", where=path
    )


def inside(directory: Path, name: str) -> Path:
    """A file of a model's directory, which must not be a link to one elsewhere.

    The Hub's cache, whose snapshots are links into the blobs beside them, is one directory.
    """
    path, root = directory / name, directory.resolve()
    place = path.resolve()
    cached = root.parent.name == "snapshots" and place.is_relative_to(root.parents[1] / "blobs")
    if not (place.is_relative_to(root) or cached):
        raise UserError(
            f"is a link to {place}, outside the model's directory",
            where=path,
            mend="copy that file here",
        )
    return path


def _from_hub(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(name, allow_patterns=WANTED, ignore_patterns=UNWANTED)
        )
    except errors.GatedRepoError:
        what, mend = "asks you to accept its terms", "do so on its page, then `hf auth login`"
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        what, mend = "is neither a directory here nor a model on the Hub", "check the spelling"
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError):
        what = "is not a directory here, and the Hub cannot be reached"
        mend = "give a directory, or try again with a network"
    raise UserError(what, where=name, mend=mend)
