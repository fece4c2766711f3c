"""Model folders: found, checked, loaded."""

import json
import math
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from luthier.adapters import blocks
from luthier.errors import ModelError
from luthier.models import belonging
from luthier.spec.nearest import did_you_mean
from luthier.spec.run import ModelSpec

DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""As safetensors names them."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def model_folder(spec: ModelSpec) -> Path:
    """The local folder of a model; a Hugging Face id is downloaded (or found in the cache) first.

    Raises:
        ModelError: no such folder and no such id within reach.
    """
    if spec.path == "starter":
        return Path(str(resources.files("luthier") / "starter"))
    folder = Path(spec.path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(f"{folder} is a file. Give the folder that holds config.json, model.safetensors and tokenizer.json.")
    siblings = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
    hint = did_you_mean(folder.name, siblings)
    if folder.is_absolute() or spec.path.startswith(".") or spec.path.count("/") != 1:
        raise ModelError(f"There is no model folder {folder}.{hint}")
    return _download(spec, hint)


def _download(spec: ModelSpec, hint: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    wanted = ["*.json", "*.safetensors", "*.jinja", "*.model"]
    try:
        return Path(snapshot_download(spec.path, revision=spec.revision, allow_patterns=wanted))
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"`model.path`: {spec.path} is no folder here, and could not be fetched as a Hugging Face id "
            f"({type(error).__name__}).{hint} Give a local folder, or `starter` for the model that comes with Luthier."
        ) from error


def load_config(folder: Path) -> PretrainedConfig:
    """The model's config.

    Raises:
        ModelError: missing, unreadable, or needing code from outside.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder} holds no config.json, so it is not a model folder in Hugging Face format.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if "auto_map" in raw and "model_type" not in raw:
            raise ModelError(f"{path}: this model needs code of its own (`auto_map`), which is never run. Choose one transformers knows.")
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except StrictDataclassError as error:  # its first line names the validator, its last one the fault
        raise ModelError(f"{path} cannot be used: {str(error).splitlines()[-1].strip()}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be used: {str(error).splitlines()[0]}") from error
    _refuse_other_purpose(config, folder)
    return config


WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the architectures end that write text."""


def _refuse_other_purpose(config: PretrainedConfig, folder: Path) -> None:
    """Raises `ModelError` for an encoder, or a head for classes or rewards: transformers would load some all the same."""
    names = getattr(config, "architectures", None) or []
    if names and not any(name.endswith(WRITERS) for name in names):
        raise ModelError(
            f"{folder} is a {names[0]}, which does not write text one token after another: it fills gaps, or gives a vector, a class "
            f"or a reward. Take a model whose config.json says `…ForCausalLM`."
        )


def check_weights(folder: Path) -> None:
    """Weights are there, are safetensors, and are whole.

    Raises:
        ModelError: naming the file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [p.name for pattern in PICKLES for p in folder.glob(pattern)]
        if pickles:
            raise ModelError(
                f"{folder / pickles[0]} is a pickle, which can run code when it is opened, and is refused. Convert it to safetensors first."
            )
        raise ModelError(f"{folder} holds no model.safetensors.")
    for path in files:
        try:
            with safe_open(path, framework="pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged or cut short ({error}). Copy or download it again.") from error


def stored_dtype(folder: Path) -> torch.dtype:
    """The type that most weights of a model folder are saved in.

    Raises:
        ModelError: no weights, or quantized ones.
    """
    check_weights(folder)
    sizes: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118  # not a dict
                part = weights.get_slice(key)
                sizes[part.get_dtype()] = sizes.get(part.get_dtype(), 0) + math.prod(part.get_shape())
    most = max(sizes, key=lambda name: sizes[name])
    if most not in DTYPES:
        raise ModelError(
            f"{folder} is saved in {most}; only floating-point weights can be used here. Take the model as it was before quantizing."
        )
    return DTYPES[most]


def load_model(
    folder: Path, dtype: torch.dtype, device: torch.device, dropout: float = 0.0, note: Callable[[str], None] = lambda _: None
) -> PreTrainedModel:
    """The causal language model in `folder`, in evaluation mode, its own dropouts set to `dropout`, its router's jitter to 0.

    Args:
        note: told, in a sentence each, what of the files or the config is left aside.
    Raises:
        ModelError: missing, damaged or of a kind transformers cannot load; or no dropout to set.
    """
    config = load_config(folder)
    check_weights(folder)
    _set_dropout(config, dropout, folder)
    for name, share in _still(config):
        note(f"`{name}` is {share:g} in config.json and 0 here: a router that draws at random is another model in each forward.")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model = _from_pretrained(folder, config, dtype, note)
    except (ValueError, OSError, RuntimeError, SafetensorError, KeyError) as error:
        raise ModelError(f"{folder} could not be loaded: {str(error).splitlines()[0]}") from error
    model.to(device)  # type: ignore[arg-type]
    model.eval()
    return model


def _from_pretrained(folder: Path, config: PretrainedConfig, dtype: torch.dtype, note: Callable[[str], None]) -> PreTrainedModel:
    """With torch's fused attention where the family has it, else transformers' plain one."""
    load: Any = AutoModelForCausalLM.from_pretrained
    arguments: dict[str, Any] = {"config": config, "dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    arguments["ignore_mismatched_sizes"] = True  # reported here, by name
    try:
        model, info = load(folder, attn_implementation="sdpa", output_loading_info=True, **arguments)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        model, info = load(folder, attn_implementation="eager", output_loading_info=True, **arguments)
    layers = blocks.find(model, config.get_text_config().num_hidden_layers)
    if fault := belonging.misfit(model, layers, info):
        raise ValueError(fault)
    for sentence in belonging.left_aside(model, layers, info):
        note(sentence)
    loaded: PreTrainedModel = model
    return loaded


def _still(config: PretrainedConfig) -> Iterator[tuple[str, float]]:
    """Set every jitter that the config declares to 0; the names and values of those that were not."""
    text = config.get_text_config()
    nested = [value for value in vars(text).values() if isinstance(value, PretrainedConfig)]  # DBRX keeps it with its experts
    for part in {id(c): c for c in (config, text, *nested)}.values():
        for name, value in list(vars(part).items()):
            if "jitter" in name and isinstance(value, int | float) and value:
                setattr(part, name, 0.0)
                yield name, value


def _set_dropout(config: PretrainedConfig, share: float, folder: Path) -> None:
    """Every dropout that the config declares; 0 where none is asked for, whatever the file says."""
    found = False
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for name, value in list(vars(part).items()):
            if ("dropout" in name or name.endswith("_pdrop")) and isinstance(value, (int, float)) and "classifier" not in name:
                setattr(part, name, share)
                found = True
    if share and not found:
        raise ModelError(f"{folder}: `train.dropout` is {share:g}, but this model has no dropout. Remove it, or use `adapter.dropout`.")


def check_vocabulary(config: PretrainedConfig, vocabulary: int, folder: Path) -> None:
    """Every id the tokenizer can give has an embedding.

    Raises:
        ModelError: the tokenizer is larger.
    """
    rows = int(config.get_text_config().vocab_size)
    if vocabulary > rows:
        raise ModelError(
            f"{folder}: the tokenizer has ids up to {vocabulary - 1}, the model only {rows} embeddings. They do not belong together: "
            f"take the tokenizer that came with this model."
        )
