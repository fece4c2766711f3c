"""Axolotl: the YAML that `axolotl train` takes. Names and defaults as of Axolotl 0.19."""

from typing import Any

from luthier.arrivals import trainer, trainer_keys
from luthier.arrivals.documents import Document
from luthier.arrivals.sheet import Sheet

NAME = "Axolotl"

MARKS = ("base_model", "sequence_len", "micro_batch_size", "num_epochs", "sample_packing", "datasets", "adapter", "lora_target_linear",
         "val_set_size", "saves_per_epoch", "evals_per_epoch", "dataset_prepared_path", "lr_scheduler", "special_tokens", "rl",
         "pretraining_dataset", "lora_model_dir")  # fmt: skip

KEYS = {"r": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "lora_target_modules", "rslora": "peft_use_rslora"}
METHODS = {"dpo": "dpo", "ipo": "dpo", "orpo": "orpo", "kto": "kto", "grpo": "grpo"}
OLDER = {"flash_attention", "xformers_attention", "sdp_attention", "flex_attention", "eager_attention", "s2_attention", "sageattention"}

MISSED = {
    "special_tokens": "the vocabulary stays as it is; see what ends a turn with `luthier show`",
    "tokens": "the vocabulary stays as it is",
    "added_tokens_overrides": "the vocabulary stays as it is",
    "resize_token_embeddings_to_32x": "the vocabulary stays as it is",
    "chat_template_jinja": "put the template into a file and name it as `model.chat_template`",
    "plugins": "plugins have no place here; look at each by itself",
    "unfrozen_parameters": "`adapter: freeze` with `adapter.patterns` trains weights by their names",
    "relora": "adapters are not merged while they learn",
    "relora_steps": "adapters are not merged while they learn",
    "lisa_n_layers": "the same weights learn throughout",
    "peft": "look at each by itself",
    "peft_use_dora": "LoRA without DoRA's magnitudes",
    "peft_layers_to_transform": "name the layers by a regular expression in `adapter.targets`",
    "loraplus_lr_embedding": "A and B learn at one rate",
    "loss_watchdog_threshold": "NaN, and weights that do not move, stop a run; `evaluation.patience` stops one that gets worse",
    "loss_watchdog_patience": "NaN, and weights that do not move, stop a run",
    "quantize_moe_experts": "bases are not quantized here",
    "qat": "models are not quantized while they learn",
    "gptq": "bases are not quantized here",
    "model_quantization_config": "bases are not quantized here",
    "model_quantization_config_kwargs": "bases are not quantized here",
    "bnb_config_kwargs": "bases are not quantized here",
    "cosine_constant_lr_ratio": "the rate falls along a cosine to its end",
    "overrides_of_model_config": "change the model's config.json",
    "overrides_of_model_kwargs": "change the model's config.json",
    "model_config": "change the model's config.json",
    "rope_scaling": "change the model's config.json",
    "curriculum_sampling": "each epoch has an order of its own, by seed",
    "trl": "settings for GRPO: write `method` by docs/how-to/reinforcement.md",
    "vllm": "answers are drawn by the model that learns",
    "rl_adopt": "a loss that is not here",
    "simpo_gamma": "no SimPO; `orpo` needs no reference, either",
    "cpo_alpha": "no CPO; `orpo` needs no reference, either",
    "rpo_alpha": "pairs are not imitated besides; train with `sft` first",
    "dpo_norm_loss": "answers are summed over their tokens",
    "dpo_use_weighting": "every pair counts alike",
    "noisy_embedding_alpha": "no noise is added to embeddings",
    "process_reward_model": "rewards are of whole answers",
    "ebft": "a method that is not here",
    "image_size": "text alone is learned",
    "tensor_parallel_size": "use `torchrun`, which shards by itself",
    "context_parallel_size": "use `torchrun`, which shards by itself",
    "expert_parallel_size": "use `torchrun`, which shards by itself",
    "dp_shard_size": "use `torchrun`, which shards by itself",
    "dp_replicate_size": "use `torchrun`, which shards by itself",
    "fsdp_version": "use `torchrun`, which shards by itself",
    "fsdp_final_state_dict_type": "use `torchrun`, which shards by itself",
    "sequence_parallel_degree": "use `torchrun`, which shards by itself",
    "reinit_weights": "weights start as they were saved",
    "model_type": "follows from the model's config.json",
    "skip_prepare_dataset": "text alone is learned",
    "diffusion": "a method that is not here",
    "num_labels": "texts with a label train with `sft`: docs/how-to/classify.md",
}
AUTOMATIC = {
    "tokenizer_type": "follows from the model's files",
    "tokenizer_use_mistral_common": "follows from the model's files",
    "tokenizer_use_fast": "always",
    "processor_type": "follows from the model's files",
    "is_llama_derived_model": "follows from the model's files",
    "is_mistral_derived_model": "follows from the model's files",
    "is_falcon_derived_model": "follows from the model's files",
    "is_qwen_derived_model": "follows from the model's files",
    "strict": "unknown settings are always refused",
    "debug": "`--debug` shows tracebacks",
    "sample_packing": "rows are always laid end to end, and never see each other",
    "eval_sample_packing": "rows are always laid end to end, and never see each other",
    "sample_packing_sequentially": "each epoch has an order of its own, by seed",
    "multipack_real_batches": "rows are always laid end to end",
    "pretrain_multipack_attn": "rows never see each other",
    "pad_to_sequence_len": "no padding token is ever computed",
    "dataset_prepared_path": "token ids are kept by content",
    "dataset_processes": "several processes encode where it pays",
    "shuffle_merged_datasets": "each epoch has an order of its own, by seed",
    "dataset_exact_deduplication": "repeated rows are named by `luthier check --fix`",
    "min_sample_len": "`luthier check` shows lengths",
    "type_of_model": "follows from the model's files",
    "liger": "logits exist only where a loss reads them",
    "liger_rope": "not used",
    "liger_rms_norm": "not used",
    "liger_rms_norm_gated": "not used",
    "liger_glu_activation": "not used",
    "liger_swiglu": "not used",
    "liger_layer_norm": "not used",
    "liger_cross_entropy": "logits exist only where a loss reads them",
    "liger_fused_linear_cross_entropy": "logits exist only where a loss reads them",
    "cut_cross_entropy": "logits exist only where a loss reads them",
    "chunked_cross_entropy": "logits exist only where a loss reads them",
    "lora_mlp_kernel": "not used",
    "lora_qkv_kernel": "not used",
    "lora_o_kernel": "not used",
    "lora_fan_in_fan_out": "found by the layer's kind",
    "use_scattermoe": "not used",
    "use_sonicmoe": "not used",
    "use_kernels": "not used",
    "experts_implementation": "not used",
    "flash_attn_cross_entropy": "not used",
    "flash_attn_rms_norm": "not used",
    "flash_attn_fuse_qkv": "not used",
    "flash_attn_fuse_mlp": "not used",
    "sample_packing_bin_size": "rows are always laid end to end",
    "sample_packing_group_size": "rows are always laid end to end",
    "tiled_mlp": "use `train.token_budget` for less memory",
    "low_cpu_mem_usage": "weights are mapped",
    "eot_tokens": "the template's own end of turn is learned; see it with `luthier show`",
    "chat_template": "the model's own is used unless `model.chat_template` names a file",
    "default_system_message": "put the system message into the rows",
    "save_first_step": "states are saved as they come",
    "save_safetensors": "always",
    "train_on_inputs": "answers alone are learned",
    "experimental_skip_move_to_device": "not needed",
    "logging_steps": "every step is a line of metrics.jsonl",
    "eval_table_size": "prompts of `evaluation.prompts` are answered at each validation",
    "eval_max_new_tokens": "see `evaluation.max_new_tokens`",
    "dataset_keep_in_memory": "rows are mapped from disk",
    "unsloth_cross_entropy_loss": "not used",
    "torch_compile_mode": "not used",
    "streaming": "rows are mapped from disk",
    "streaming_multipack_buffer_size": "rows are mapped from disk",
}
SERVICES = ("wandb_", "mlflow_", "comet_", "swanlab_", "trackio_", "use_swanlab", "use_trackio", "use_comet", "hub_", "use_wandb")
"""Beginnings of keys of places that metrics or weights are sent to."""


def recognizes(document: Document) -> int:
    found = sum(key in document.values for key in MARKS)
    return found + 5 if "base_model" in document.values and found > 2 else 0


def translate(sheet: Sheet) -> None:
    """Everything of it."""
    method = _method(sheet)
    if sheet.get("base_model") is not None:
        sheet.put("model.path", str(sheet.get("base_model")), "base_model", same=True)
    if sheet.get("revision_of_model") is not None:
        sheet.put("model.revision", str(sheet.get("revision_of_model")), "revision_of_model", same=True)
    sheet.leave(
        dict.fromkeys(
            ("base_model_config", "tokenizer_config", "model_config_type", "processor_config"), "the model's own tokenizer and config"
        )
    )
    _data(sheet, method)
    _of_method(sheet, method)
    _times(sheet)
    _adapter(sheet)
    _outside(sheet)
    if method == "grpo":
        trainer.on_policy(sheet)
    sheet.leave(
        {**dict.fromkeys(OLDER, "attention is one function, proved against the model's own"), **AUTOMATIC, **trainer_keys.BY_ITSELF}
    )
    sheet.miss({**MISSED, **trainer_keys.NOTHING_LIKE_IT})


def _method(sheet: Sheet) -> str:
    asked = sheet.get("rl")
    if asked is not None:
        method = sheet.method or METHODS.get(str(asked))
        if method is None:
            sheet.missed("rl", "no such method; `dpo` is the nearest")
            method = "dpo"
        else:
            sheet.put("method.name", method, "rl", same=method == asked)
    elif sheet.get("reward_model") is True:
        method = sheet.method or "reward_model"
        sheet.put("method.name", method, "reward_model")
    else:
        method = sheet.method or ("pretrain" if _is_text(sheet) else "sft")
        text = "the sets are raw text (`type: completion`)" if method == "pretrain" else "the method where no `rl` is named"
        sheet.values.setdefault("method.name", method)
        sheet.notes.setdefault("method.name", text)
    sheet.values["method.name"] = method
    sheet.leave({"reward_model": "no reward model is trained"})
    return method


def _is_text(sheet: Sheet) -> bool:
    sets = sheet.get("datasets")
    return sheet.get("pretraining_dataset") is not None or (
        isinstance(sets, list)
        and bool(sets)
        and all(isinstance(one, dict) and str(one.get("type", "")).startswith("completion") for one in sets)
    )


def _data(sheet: Sheet, method: str) -> None:
    for key, to in (("datasets", "data.train"), ("pretraining_dataset", "data.train"), ("test_datasets", "data.validation")):
        sets = sheet.get(key)
        if sets is None:
            continue
        listed = sets if isinstance(sets, list) else [sets]
        sheet.put(to, [_source(one) for one in listed], key, text="which columns hold what is recognized; `luthier check` shows it")
        if any(not str(_source(one)["path"]).endswith((".json", ".jsonl", ".csv", ".parquet")) for one in listed):
            sheet.ask(
                key,
                f"ids are not fetched: `hf download ID --repo-type dataset --local-dir FOLDER`, then name the files in `{to}`",
            )
        if any(isinstance(one, dict) and one.get("split") not in (None, "train") for one in listed):
            sheet.ask(key, "a `split` that is a part or a range of a set: make a file of those rows")
    share = sheet.get("val_set_size")
    if isinstance(share, int | float) and 0 < share <= 0.5 and "data.validation" not in sheet.values:
        sheet.put("data.validation_share", share, "val_set_size", same=True)
    elif share:
        sheet.missed("val_set_size", "a number of rows, or more than half: set `data.validation_share`, from 0 to 0.5")
    sheet.leave({"val_set_size": "nothing is set aside"})
    if method == "grpo":
        return
    sheet.carry({"sequence_len": "data.max_length"})
    if sheet.get("sequence_len") is None and method != "pretrain":
        sheet.default("sequence_len", "data.max_length", 512)
    if method == "pretrain":
        sheet.leave({"excess_length_strategy": "long documents are cut into pieces that all stay"})
        return
    how = {"drop": "drop", "truncate": "cut", "raise": "refuse"}.get(str(sheet.get("excess_length_strategy", "drop")), "drop")
    if sheet.get("excess_length_strategy") is not None:
        sheet.put("data.too_long", how, "excess_length_strategy", same=True)
    else:
        sheet.default("excess_length_strategy", "data.too_long", how, "longer rows are left out, as there, and counted")


def _source(one: Any) -> dict[str, Any]:
    if not isinstance(one, dict):
        return {"path": str(one)}
    files = one.get("data_files")
    path = files[0] if isinstance(files, list) and files else files if isinstance(files, str) else one.get("path")
    return {"path": str(path or "train.jsonl")}


def _of_method(sheet: Sheet, method: str) -> None:
    beta = sheet.first("rl_beta", "dpo_beta", "orpo_alpha")
    if method == "sft" and sheet.get("train_on_inputs") is True:
        sheet.put("method.prompt_weight", 1.0, "train_on_inputs")
    elif method in ("dpo", "kto"):
        if beta:
            sheet.put("method.beta", sheet.get(beta), beta, same=True)
        if str(sheet.get("rl")) == "ipo":
            sheet.put("method.loss", "ipo", "rl")
        elif method == "dpo" and sheet.get("dpo_label_smoothing"):
            sheet.put("method.label_smoothing", sheet.get("dpo_label_smoothing"), "dpo_label_smoothing", same=True)
        sheet.carry(
            {"kto_desirable_weight": "method.good_weight", "kto_undesirable_weight": "method.bad_weight"} if method == "kto" else {}
        )
        sheet.leave({"dpo_label_smoothing": "off"})
    elif method == "orpo" and beta:
        sheet.put("method.odds_weight", sheet.get(beta), beta, same=True)
    elif method == "grpo":
        sheet.carry({"trl.num_generations": "method.group", "trl.max_completion_length": "method.rollout.max_new_tokens", 
                     "trl.beta": "method.kl", "trl.temperature": "method.rollout.temperature"})  # fmt: skip
        sheet.put("reward", [{"name": "./rewards.py:score"}], *(["trl.reward_funcs"] if sheet.get("trl.reward_funcs") else []))
        sheet.ask(
            "trl.reward_funcs",
            "write what answers are worth as `score(prompt, answer, item)` in rewards.py, or name a reward (docs/how-to/reinforcement.md)",
        )


def _times(sheet: Sheet) -> None:
    sheet.carry(trainer.SAME)
    sheet.default("learning_rate", "optimizer.learning_rate", 2e-4, "Axolotl has no default: LoRA's usual rate")
    trainer.batch_size(sheet, "micro_batch_size", "gradient_accumulation_steps", 1)
    if sheet.get("batch_size") is not None:
        sheet.missed("batch_size", "`micro_batch_size` × `gradient_accumulation_steps` decides, there, too")
    trainer.length(sheet, "num_epochs", 1.0)
    trainer.of_schedule(sheet, "lr_scheduler", "cosine", "cosine_min_lr_ratio")
    trainer.warm_up(sheet, 0.03)
    trainer.clipping(sheet)
    trainer.number_type(sheet)
    trainer.when_measured(sheet)
    trainer.when_saved(sheet)
    trainer.optimizer(sheet, "optimizer")
    sheet.default("seed", "train.seed", 42)
    if sheet.get("evals_per_epoch") == 1:
        sheet.put("evaluation.every", "epoch", "evals_per_epoch")
    sheet.leave({"evals_per_epoch": "measured ten times a run unless `evaluation.every` says otherwise"})
    per_epoch, epochs = sheet.get("saves_per_epoch"), sheet.values.get("train.epochs")
    if per_epoch == 1 and isinstance(epochs, int) and epochs != trainer.MANY_EPOCHS:
        sheet.put("checkpoints.keep_epochs", epochs, "saves_per_epoch", text="the weights at the end of each epoch are kept")
    sheet.leave({"saves_per_epoch": "saved ten times a run unless `checkpoints.every` says otherwise"})
    validated = sheet.values.get("data.validation_share") or sheet.values.get("data.validation")
    if validated:
        sheet.carry({"early_stopping_patience": "evaluation.patience"})


def _adapter(sheet: Sheet) -> None:
    kind = sheet.get("adapter")
    if kind in ("lora", "qlora"):
        sheet.put("adapter.name", "lora", "adapter", same=kind == "lora", text="without the quantized base" if kind == "qlora" else "")
        if kind == "qlora":
            sheet.ask(
                "adapter",
                "the base is not quantized here and takes about four times the memory: `luthier plan run.yaml` says whether it fits",
            )
        if sheet.get("lora_target_linear") is True:
            sheet.put("adapter.targets", "all-linear", "lora_target_linear")
            sheet.leave({"lora_target_modules": "every linear layer"})
        trainer.lora(sheet, KEYS, 8, 16, 0.0, "what PEFT's table has for the model, often q_proj and v_proj")
        if sheet.get("lora_model_dir") is not None:
            sheet.put("adapter.start", str(sheet.get("lora_model_dir")), "lora_model_dir", same=True)
        sheet.leave({"lora_target_linear": "layers are named"})
        return
    if kind is not None:
        sheet.missed("adapter", "one of `lora`, `full`, `freeze`; every weight learns")
    sheet.values["adapter.name"] = "full"
    sheet.notes["adapter.name"] = "no `adapter`: every weight learns"
    sheet.leave(dict.fromkeys([*KEYS.values(), "lora_target_linear", "lora_model_dir"], "does nothing without `adapter`"))


def _outside(sheet: Sheet) -> None:
    """Where metrics went."""
    for word, key in (("wandb", "wandb_project"), ("mlflow", "mlflow_tracking_uri"), ("tensorboard", "use_tensorboard")):
        if sheet.get(key):
            sheet.put(f"report.{word}", True, key, text="written into the run's folder; nothing is sent")
    sheet.leave({key: "nothing is sent: metrics lie in the run's folder" for key in sheet.document.flat if key.startswith(SERVICES)})
