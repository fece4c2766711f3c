"""LLaMA-Factory: the YAML or JSON that `llamafactory-cli train` takes."""

import json
from pathlib import Path
from typing import Any

from luthier.arrivals import trainer, trainer_keys
from luthier.arrivals.documents import Document
from luthier.arrivals.settings import trl
from luthier.arrivals.sheet import Sheet

NAME = "LLaMA-Factory"

MARKS = ("stage", "finetuning_type", "template", "cutoff_len", "dataset", "dataset_dir", "lora_target", "pref_beta", "pref_loss",
         "val_size", "preprocessing_num_workers", "overwrite_cache", "plot_loss", "do_train", "lora_rank", "max_samples")  # fmt: skip

STAGES = {"pt": "pretrain", "sft": "sft", "rm": "reward_model", "ppo": "ppo", "dpo": "dpo", "kto": "kto"}
KEYS = {"r": "lora_rank", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "lora_target", "rslora": "use_rslora"}
DEFAULT_RATE = 5e-5
INDEX = "dataset_info.json"
"""Where its data sets have their names."""

MISSED = {
    "max_samples": "make a file of the rows that are meant",
    "mask_history": "give earlier answers `weight: 0` in the rows",
    "pref_ftx": "pairs are not imitated besides; train with `sft` first, or use `orpo`",
    "pref_bco_weight": "one loss at a time",
    "simpo_gamma": "no SimPO; `orpo` needs no reference, either",
    "additional_target": "embeddings and heads stay as they are under LoRA",
    "pissa_init": "adapters start at zero",
    "pissa_iter": "adapters start at zero",
    "pissa_convert": "adapters start at zero",
    "use_galore": "AdamW learns everything that learns",
    "galore_layerwise": "AdamW learns everything that learns",
    "galore_target": "AdamW learns everything that learns",
    "galore_rank": "AdamW learns everything that learns",
    "galore_scale": "AdamW learns everything that learns",
    "use_eaft_loss": "the loss is the plain one",
    "use_dft_loss": "the loss is the plain one",
    "pure_bf16": "weights that learn are fp32; the computation is `train.dtype`",
    "oft_block_size": "LoRA instead of OFT",
    "oft_target": "LoRA instead of OFT",
    "use_badam": "AdamW learns everything that learns",
    "use_apollo": "AdamW learns everything that learns",
    "use_adam_mini": "AdamW learns everything that learns",
    "use_muon": "AdamW learns everything that learns",
    "use_llama_pro": "no blocks are added",
    "rope_scaling": "set it in the model's config.json",
    "resize_vocab": "the vocabulary stays as it is",
    "new_special_tokens": "the vocabulary stays as it is",
    "default_system": "put the system message into the rows",
    "streaming": "rows are mapped from disk",
    "buffer_size": "rows are mapped from disk",
    "mix_strategy": "sets are mixed by their weights, in one epoch",
    "image_max_pixels": "text alone is learned",
    "video_max_pixels": "text alone is learned",
    "freeze_vision_tower": "text alone is learned",
    "freeze_multi_modal_projector": "text alone is learned",
    "top_p": "answers are drawn from the policy itself",
    "top_k": "answers are drawn from the policy itself",
    "ref_model": "the reference is what the run started from",
    "ppo_score_norm": "rewards are taken as they are; advantages are whitened",
    "ppo_whiten_rewards": "advantages are whitened instead (`method.whiten`)",
    "reward_model_quantization_bit": "models are not quantized here",
    "freeze_trainable_modules": "name weights by `adapter.patterns`",
    "freeze_extra_modules": "name weights by `adapter.patterns`",
    "create_new_adapter": "the adapter that it goes on from goes on learning",
    "disable_gradient_checkpointing": "set `train.gradient_checkpointing`",
}
AUTOMATIC = {
    "template": "the model's own chat template is used, for training and answers alike; look with `luthier show`",
    "tool_format": "the model's own template writes calls",
    "enable_thinking": "`model.template_arguments: {enable_thinking: false}` tells the template",
    "dataset_dir": "files are named by their paths",
    "tokenized_path": "token ids are kept by content",
    "upcast_layernorm": "not needed",
    "upcast_lmhead_output": "not needed",
    "infer_backend": "drawn by the model that learns",
    "infer_dtype": "the type is `train.dtype`",
    "use_fast_tokenizer": "always",
    "use_unsloth": "its own kernels are not used",
    "use_unsloth_gc": "use `train.gradient_checkpointing`",
    "shift_attn": "attention is the model's own",
    "ppo_buffer_size": "one lot at a time",
    "print_param_status": "`luthier plan` says what learns",
    "ray_run_name": "not used",
    "ray_num_workers": "not used",
    "resources_per_worker": "not used",
    "placement_strategy": "not used",
    "compute_accuracy": "token accuracy is always measured in validation",
    "split_special_tokens": "message text can never write a turn marker",
}


def recognizes(document: Document) -> int:
    found = sum(key in document.values for key in MARKS)
    return found + 5 if found and ("finetuning_type" in document.values or "stage" in document.values) else found if found > 3 else 0


def translate(sheet: Sheet) -> None:
    """Everything of it."""
    stage = str(sheet.get("stage", "sft"))
    loss = str(sheet.get("pref_loss", "sigmoid"))
    method = sheet.method or ("orpo" if stage == "dpo" and loss == "orpo" else STAGES.get(stage, "sft"))
    if sheet.get("stage") is not None:
        sheet.put("method.name", method, "stage", same=method == stage)
    else:
        sheet.default("stage", "method.name", method)
    trl.model(sheet)
    _data(sheet, method)
    _of_method(sheet, method, loss)
    trainer.common(sheet, rate=DEFAULT_RATE)
    _adapter(sheet)
    if method == "ppo":
        trainer.on_policy(sheet)
    sheet.leave({**AUTOMATIC, **trainer_keys.BY_ITSELF})
    sheet.miss({**MISSED, **trainer_keys.NOTHING_LIKE_IT})


def _data(sheet: Sheet, method: str) -> None:
    names = _names(sheet.get("dataset"))
    if names:
        sheet.put("data.train", _files(sheet, "dataset", names), "dataset")
    weights = sheet.get("interleave_probs")
    if weights is not None:
        sheet.missed("interleave_probs", "give each of `data.train` its `weight`: how often it is drawn relative to the others")
    held_out = _names(sheet.get("eval_dataset"))
    if held_out:
        sheet.put("data.validation", _files(sheet, "eval_dataset", held_out), "eval_dataset")
    share = sheet.get("val_size")
    if isinstance(share, float) and 0 < share <= 0.5 and not held_out:
        sheet.put("data.validation_share", share, "val_size", same=True)
    elif share:
        sheet.missed("val_size", "a number of rows, or more than half: set `data.validation_share`, from 0 to 0.5")
    sheet.leave({"val_size": "nothing is set aside"})
    if method != "ppo":
        sheet.carry({"cutoff_len": "data.max_length"})
        sheet.default("cutoff_len", "data.max_length", 2048)
        if method != "pretrain":
            sheet.default("cutoff_len", "data.too_long", "cut", "longer rows are cut at their end")
            sheet.differs(
                "Of rows over `cutoff_len` LLaMA-Factory shortens prompt and answer in proportion; here the end is cut away, and counted. "
                "A preflight stops above 5 %."
            )
    sheet.leave({"cutoff_len": "answers have a limit of their own"})
    if method in ("sft", "dpo", "kto") and sheet.get("template") is not None:
        sheet.differs(
            f"`template: {sheet.get('template')}` is LLaMA-Factory's own chat template. Here the model's is used; compare once "
            f"with `luthier show`, because an adapter made there may expect the other."
        )


def _names(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(name) for name in value]
    return [name.strip() for name in str(value).split(",") if name.strip()] if value else []


def _files(sheet: Sheet, key: str, names: list[str]) -> Any:
    """Names of `dataset_info.json` as files, where that lies near; else as its folder usually has them."""
    folder = Path(str(sheet.get("dataset_dir", "data")))
    known = _index(Path(sheet.document.path).parent, folder)
    found = []
    for name in names:
        entry = known.get(name)
        file = entry.get("file_name") if isinstance(entry, dict) else None
        if file:
            found.append({"path": str(folder / file)})
            continue
        found.append({"path": str(folder / f"{name}.json")})
        hub = entry.get("hf_hub_url") if isinstance(entry, dict) else None
        how = f"fetch it: `hf download {hub} --repo-type dataset --local-dir FOLDER`" if hub else f"look up `{name}` in {folder / INDEX}"
        sheet.ask(key, f"{how}, and put its file's path into `data`")
    return found


def _index(beside: Path, folder: Path) -> dict[str, Any]:
    """Of the folders where it usually lies; empty where it is nowhere."""
    for place in (beside / folder / INDEX, folder / INDEX, beside / INDEX):
        if place.is_file():
            try:
                found = json.loads(place.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def _of_method(sheet: Sheet, method: str, loss: str) -> None:
    if method == "sft":
        if sheet.get("train_on_prompt") is True:
            sheet.put("method.prompt_weight", 1.0, "train_on_prompt")
        sheet.leave({"train_on_prompt": "answers alone are learned"})
    elif method == "dpo":
        sheet.carry({"pref_beta": "method.beta", "dpo_label_smoothing": "method.label_smoothing"})
        sheet.default("pref_beta", "method.beta", 0.1)
        if loss in trl.LOSSES and sheet.get("pref_loss") is not None:
            sheet.put("method.loss", loss, "pref_loss", same=True)
        elif sheet.get("pref_loss") is not None:
            sheet.missed("pref_loss", "one of `sigmoid` and `ipo`, or `method.name: orpo`; `sigmoid` is used")
    elif method == "orpo":
        sheet.carry({"pref_beta": "method.odds_weight"})
        sheet.leave({"pref_loss": "the method is `orpo`"})
    elif method == "kto":
        sheet.carry({"pref_beta": "method.beta", "kto_chosen_weight": "method.good_weight", "kto_rejected_weight": "method.bad_weight"})
        sheet.default("pref_beta", "method.beta", 0.1)
    elif method == "ppo":
        _ppo(sheet)


def _ppo(sheet: Sheet) -> None:
    path = str(sheet.get("reward_model", "runs/my-reward-model"))
    sheet.put("reward", [{"name": "reward_model", "path": path}], *(["reward_model"] if sheet.get("reward_model") else []))
    sheet.ask(
        "reward_model",
        "another tool's reward model has no report to trust: train one here with `luthier train reward_model`, and name its run",
    )
    sheet.carry(
        {
            "max_new_tokens": "method.rollout.max_new_tokens",
            "temperature": "method.rollout.temperature",
            "ppo_epochs": "method.rollout.passes",
        }
    )
    if sheet.get("ppo_target") is not None:
        sheet.put("method.kl.target", sheet.get("ppo_target"), "ppo_target", same=True)
    sheet.leave({"reward_model_type": "follows from the run", "reward_model_adapters": "follows from the run"})


def _adapter(sheet: Sheet) -> None:
    kind = str(sheet.get("finetuning_type", "lora"))
    name = kind if kind in ("lora", "full", "freeze") else "lora"
    if sheet.get("finetuning_type") is not None:
        sheet.put("adapter.name", name, "finetuning_type", same=name == kind, text="" if name == kind else f"no {kind} here")
    if name == "lora":
        trainer.lora(sheet, KEYS, 8, None, 0.0)
        if sheet.get("adapter_name_or_path") is not None:
            sheet.put("adapter.start", str(sheet.get("adapter_name_or_path")), "adapter_name_or_path", same=True)
        return
    sheet.values["adapter.name"] = name
    sheet.leave(dict.fromkeys([*KEYS.values()], f"`finetuning_type: {kind}` has no adapter"))
    if name == "freeze":
        layers = sheet.get("freeze_trainable_layers", 2)
        if isinstance(layers, int) and layers > 0:
            sheet.put(
                "adapter.last_layers",
                layers,
                *(["freeze_trainable_layers"] if sheet.get("freeze_trainable_layers") is not None else []),
                same=True,
            )
        else:
            sheet.missed("freeze_trainable_layers", "the last layers learn, counted from the end; the first ones do not")
