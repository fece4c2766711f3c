"""From settings to everything the loop is given: model, rows, adapter, method. Whatever is wrong with them is said here."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from luthier.batches import encode as encoding
from luthier.batches.examples import Example
from luthier.batches.randomness import torch_generator
from luthier.data import load as loading
from luthier.data.rows import Row
from luthier.data.split import shared_rows, split_validation
from luthier.engine.folder import RunFolder
from luthier.engine.setup import POLICY, AdapterChoice, Setup
from luthier.errors import DataError, SettingsError, TrainingFailed
from luthier.methods.base import Method, Order, Roles
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.forward import Root
from luthier.models.probe import Probed, probe
from luthier.models.roles import PolicyModel
from luthier.recipes.versions import versions
from luthier.spec import folder as registry
from luthier.spec.base import Spec
from luthier.spec.component import configure
from luthier.spec.effective import refuse_ineffective
from luthier.spec.run import RunSpec
from luthier.text.renderer import Renderer

DEFAULT_CONTEXT = 2048
"""Longest row where a model's config does not say how many positions it has."""


@dataclass(frozen=True)
class Parts:
    """The components a run names, with their checked settings."""

    method: type[Method[Any, Any]]
    method_config: Spec
    adapter: AdapterChoice


def resolve(spec: RunSpec) -> Parts:
    """Find method and adapter and check their settings, before anything is loaded.

    Raises:
        SettingsError: an unknown component or setting, or one without effect.
    """
    method_module = registry.load("luthier.methods", spec.method.name)
    adapter_module = registry.load("luthier.adapters", spec.adapter.name)
    method = method_class(method_module)
    refuse_ineffective(spec, reads_conversations="Conversation" in method.rows)
    method_config = configure(method_module.Config, spec.method, "method")
    adapter_config = configure(adapter_module.Config, spec.adapter, "adapter")
    return Parts(method, method_config, AdapterChoice(spec.adapter.name, adapter_module, adapter_config))


def method_class(module: ModuleType) -> type[Method[Any, Any]]:
    """The one subclass of `Method` that a file declares.

    Raises:
        SettingsError: none, or several.
    """
    found = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, Method) and c.__module__ == module.__name__]
    if len(found) != 1:
        raise SettingsError(f"{module.__file__} declares {len(found)} subclasses of `Method`; a method's file declares exactly one.")
    return found[0]


def prepare(spec: RunSpec, folder: RunFolder, say: Callable[[str], None], started: datetime) -> Setup:
    """Load and check everything a run needs.

    Args:
        say: told what happens. started: the moment that templates with a date see; kept when the run is resumed.
    """
    parts = resolve(spec)
    if not spec.data.train:
        raise SettingsError("`data.train` is empty. Give a file: `--data FILE`, or `data.train=FILE`.")
    if spec.train.threads:
        torch.set_num_threads(spec.train.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # everything allocated here is written before it is read
    model_folder = models.model_folder(spec.model)
    renderer = Renderer.load(model_folder, spec.model.chat_template, now=started)
    config = models.load_config(model_folder)
    train, validation, data_record = read_data(spec, parts.method, renderer, _max_length(spec, config), say)
    device = devices.default_device()
    text = config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    dtype = devices.choose_dtype(spec.train.dtype, text.hidden_size, inner, device)
    say(f"Loading {spec.model.path} in {str(dtype.dtype).removeprefix('torch.')}")
    model = models.load_model(model_folder, dtype.dtype, device, spec.train.dropout)
    models.check_vocabulary(model, renderer.tokenizer.vocab_size, model_folder)
    probed = probe(model)
    adapter = parts.adapter
    generator = torch_generator(spec.train.seed, "adapter")
    adapter.module.attach(model, adapter.config, POLICY, generator, model.get_output_embeddings())
    root = Root(model, probed.packing, probed.head)
    root.stop_ids = renderer.stops
    if spec.train.gradient_checkpointing:
        root.enable_checkpointing()
    order = Order(spec.train.batch_size, spec.train.seed, tuple(s.weight for s in spec.data.train))

    def make_method(on: Root) -> Method[Any, Any]:
        return parts.method(parts.method_config, Roles(PolicyModel(on, adapter.role, spec.train.seed)), order)

    num_trainable = sum(p.numel() for p in adapter.trainable(model).values())
    num_parameters = sum(p.numel() for p in model.parameters())
    return Setup(
        spec,
        folder,
        model_folder,
        root,
        adapter,
        make_method,
        renderer,
        train,
        validation,
        _names(spec),
        device,
        dtype,
        _description(spec, root, probed, dtype, train, validation, num_trainable, num_parameters),
        {
            "model": {
                "path": spec.model.path,
                "revision": spec.model.revision,
                "fingerprint": fingerprint(model_folder),
                "num_parameters": num_parameters,
                "num_trainable": num_trainable,
            },
            "data": data_record,
            "renderer": renderer.fingerprint,
            "packing": {
                "tier": probed.packing.tier,
                "reason": probed.reason,
                "thresholds": list(probed.packing.thresholds),
                "head": "plain logits" if probed.head is None else f"scale {probed.head.scale:g}, cap {probed.head.softcap}",
            },
            "dtype": {
                "chosen": str(dtype.dtype).removeprefix("torch."),
                "bfloat16_gflops": dtype.bfloat16_gflops,
                "float32_gflops": dtype.float32_gflops,
            },
            "machine": devices.machine(),
            "versions": versions(),
        },
    )


def fingerprint(model_folder: Path) -> str:
    """SHA-256 over the hashes of a model's config and weights."""
    import hashlib

    from luthier.engine.checkpoint import sha256

    files = [model_folder / "config.json", *sorted(model_folder.glob("*.safetensors"))]
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()


def _names(spec: RunSpec) -> tuple[str, ...]:
    """Short names of the data sets, told apart by number where two files are called the same."""
    stems = [Path(s.path).name.split(".")[0] for s in spec.data.train]
    return tuple(stem if stems.count(stem) == 1 else f"{stem}-{i}" for i, stem in enumerate(stems))


def _max_length(spec: RunSpec, config: Any) -> int:
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if spec.data.max_length is None:
        return context or DEFAULT_CONTEXT
    if context is not None and spec.data.max_length > context:
        raise SettingsError(f"`data.max_length` is {spec.data.max_length}, the model's context is {context}. Give at most that.")
    return spec.data.max_length


def read_data(
    spec: RunSpec, method: type[Method[Any, Any]], renderer: Renderer, max_length: int, say: Callable[[str], None]
) -> tuple[tuple[Example, ...], tuple[Example, ...], dict[str, Any]]:
    """Training and validation examples, and what the record says about them.

    Raises:
        DataError: rows that cannot be used, or that are in both sets. TrainingFailed: no token would be learned.
    """
    record: dict[str, Any] = {"train": [], "validation": [], "notes": []}
    train_rows: list[Sequence[Row]] = []
    for source in spec.data.train:
        loaded = loading.load(source)
        say(f"{source.path}: {len(loaded.rows):,} rows, {loaded.recognized}")
        record["train"].append(
            {"path": source.path, "rows": len(loaded.rows), "sha256": loaded.fingerprint, "format": loaded.recognized.format}
        )
        record["notes"] += loaded.notes
        train_rows.append(loaded.rows)
    validation_rows: list[Sequence[Row]] = []
    for source in spec.data.validation:
        loaded = loading.load(source)
        say(f"{source.path}: {len(loaded.rows):,} rows for validation")
        record["validation"].append({"path": source.path, "rows": len(loaded.rows), "sha256": loaded.fingerprint})
        validation_rows.append(loaded.rows)
    if spec.data.validation_share:
        splits = [split_validation(rows, spec.data.validation_share, spec.train.seed) for rows in train_rows]
        train_rows, validation_rows = [kept for kept, _ in splits], [aside for _, aside in splits]
    _refuse_shared(train_rows, validation_rows)
    sets = []
    for part, rows_by_set in (("train", train_rows), ("validation", validation_rows)):
        examples: list[Example] = []
        for number, rows in enumerate(rows_by_set):
            encoding.refuse_kinds(rows, method.rows, spec.method.name)
            everything = method.learns == "everything"
            encoded = encoding.encode(rows, renderer, everything, max_length, spec.data.too_long, number if part == "train" else number)
            examples += encoded.examples
            record["notes"] += [str(note) for note in encoded.notes][:100]
            record[f"{part}_dropped"] = record.get(f"{part}_dropped", 0) + encoded.num_dropped
            record[f"{part}_cut"] = record.get(f"{part}_cut", 0) + encoded.num_cut
        record[f"{part}_tokens"] = sum(e.num_tokens for e in examples)
        record[f"{part}_trained_tokens"] = sum(e.num_trained for e in examples)
        record[f"{part}_examples"] = len(examples)
        sets.append(tuple(examples))
    if not sets[0]:
        raise TrainingFailed("No row has a token to learn: every assistant message is empty, has weight 0, or was cut away.")
    return sets[0], sets[1], record


def _refuse_shared(train: list[Sequence[Row]], validation: list[Sequence[Row]]) -> None:
    shared = shared_rows([r for rows in train for r in rows], [r for rows in validation for r in rows])
    if shared:
        first, second = shared[0]
        raise DataError(
            f"{second}: this validation row is also a training row ({first}); {len(shared)} rows are. "
            f"A loss measured on rows that were learned says nothing: remove them from one of the two."
        )


def _description(
    spec: RunSpec,
    root: Root,
    probed: Probed,
    dtype: devices.DtypeChoice,
    train: tuple[Example, ...],
    validation: tuple[Example, ...],
    num_trainable: int,
    num_parameters: int,
) -> dict[str, str]:
    tiers = {1: "streams, shared beginnings computed once", 2: "streams without sharing", 3: "one row a forward"}
    measured = f" (bf16 {dtype.bfloat16_gflops:g}, fp32 {dtype.float32_gflops:g} GFLOP/s here)" if dtype.bfloat16_gflops else ""
    return {
        "model": f"{spec.model.path}, {num_parameters:,} parameters, {num_trainable:,} learn ({num_trainable / num_parameters:.1%})",
        "method": f"{spec.method.name} with {spec.adapter.name}",
        "data": f"{len(train):,} examples, {sum(e.num_tokens for e in train):,} tokens, {sum(e.num_trained for e in train):,} learned",
        "validation": f"{len(validation):,} examples" if validation else "none",
        "rows": f"tier {probed.packing.tier}: {tiers[probed.packing.tier]}",
        "type": str(dtype.dtype).removeprefix("torch.") + measured,
    }
