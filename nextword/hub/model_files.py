"""Where a model's directory is, and which of its files holds each tensor."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.starter import find_starter
from nextword.hub.tensor_files import ADAPTER, INDEX, SINGLE, TABLE, inside, open_tensors, pickled

DOWNLOADED = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
IGNORED_FILES = ["*/*", "consolidated*", "*.onnx*", "training_args*"]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.msgpack", "*.h5")


def find_directory(name_or_path: str | PathLike[str]) -> Path:
    """Return the directory that holds a model's config.json and weights.

    It is that of a run, a Hugging Face directory, one that stands for a GGUF file or for an adapter
    with its base model, that of a starter, or a download from the Hub where nothing of that name is
    on this machine; only safetensors, JSON, text and chat templates are downloaded. Raises
    UserError where there is no such model.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        for directory in (path, path / "model"):
            if (directory / "config.json").is_file():
                return directory
        if (path / ADAPTER).is_file():
            return _adapted(path)
        if (path / "config.yaml").is_file() or (path / "checkpoints").is_dir():
            raise UserError(
                "this run has kept no model yet",
                where=path,
                mend="go on with `nextword pretrain --resume` until its first validation",
            )
        what = "holds no model: neither config.json nor model/config.json is there"
        raise UserError(what, where=path)
    if path.is_file():
        from nextword.hub.gguf.reading import is_gguf

        if is_gguf(path):
            from nextword.hub.stand_ins import stand_in_for_gguf

            return stand_in_for_gguf(path)
    if path.exists():
        raise UserError("is a file, and neither a model's directory nor GGUF", where=path)
    name = str(name_or_path)
    if (starter := find_starter(name)) is not None:
        return find_directory(starter)
    if HUB_NAME.fullmatch(name) and ".." not in name:
        directory = _download(name)
        is_adapter = (directory / ADAPTER).is_file() and not (directory / "config.json").is_file()
        return _adapted(directory) if is_adapter else directory
    raise UserError("no such directory", where=path)


def _adapted(adapter: Path) -> Path:
    """Return the directory that stands for an adapter with its base model."""
    from nextword.hub.stand_ins import stand_in_for_adapter

    def find_base(name: str) -> tuple[Path, dict[str, Path]]:
        beside = adapter / name  # rather than from where the command is run
        base = find_directory(beside if beside.is_dir() else name)
        return base, locate_tensors(base)

    return stand_in_for_adapter(adapter, find_base)


def _download(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=DOWNLOADED, ignore_patterns=IGNORED_FILES
            )
        )
    except errors.GatedRepoError:
        what, mend = "asks you to accept its terms", "do so on its page, then `hf auth login`"
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        what, mend = "is neither a directory here nor a model on the Hub", "check the spelling"
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError):
        what = "is not a directory here, and the Hub cannot be reached"
        mend = "give a directory, or try again with a network"
    raise UserError(what, where=name, mend=mend)


def locate_tensors(directory: Path) -> dict[str, Path]:
    """Return the file that holds each tensor. Raises UserError where files or tensors are missing,
    and for weights of another format."""
    if (directory / TABLE).is_file():
        from nextword.hub.stand_ins import read_table

        if (table := read_table(directory)) is not None:
            return dict.fromkeys(table["tensors"], directory / TABLE)
    if (directory / INDEX).is_file():
        index = read_json(directory / INDEX)
        weight_map = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError("has no weight_map", where=directory / INDEX)
        for name, file in weight_map.items():
            if not isinstance(file, str) or Path(file).name != file or file in ("", ".."):
                raise UserError(
                    f"tensor {name!r} is said to be in {file!r}, which is not a plain file name",
                    where=directory / INDEX,
                )
            if not file.endswith(".safetensors"):
                raise pickled(directory / file)
        files = sorted(set(weight_map.values()))
        present = {file: _tensor_names(inside(directory, file)) for file in files}
        for name, file in weight_map.items():
            if name not in present[file]:
                raise UserError(f"tensor {name!r} is missing", where=directory / file)
        return {name: directory / file for file, names in present.items() for name in names}
    if (directory / SINGLE).is_file():
        return dict.fromkeys(_tensor_names(inside(directory, SINGLE)), directory / SINGLE)
    for pattern in PICKLED:
        for path in sorted(directory.glob(pattern)):
            raise pickled(path)
    raise UserError(f"holds no weights: {SINGLE} is missing", where=directory)


def _tensor_names(path: Path) -> list[str]:
    with open_tensors(path) as file:
        return list(file.keys())
