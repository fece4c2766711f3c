"""Axolotl: the YAML that `axolotl train` takes. Names and defaults as of Axolotl 0.19."""

from typing import Any

from luthier.arrivals import trainer, trainer_keys
from luthier.arrivals.axolotl_keys import AUTOMATIC, MISSED, SERVICES
from luthier.arrivals.documents import Document
from luthier.arrivals.sheet import Sheet

NAME = "Axolotl"

MARKS = ("base_model", "sequence_len", "micro_batch_size", "num_epochs", "sample_packing", "datasets", "adapter", "lora_target_linear",
         "val_set_size", "saves_per_epoch", "evals_per_epoch", "dataset_prepared_path", "lr_scheduler", "special_tokens", "rl",
         "pretraining_dataset", "lora_model_dir")  # fmt: skip

KEYS = {"r": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "lora_target_modules", "rslora": "peft_use_rslora"}
METHODS = {"dpo": "dpo", "ipo": "dpo", "orpo": "orpo", "kto": "kto", "grpo": "grpo"}
OLDER = {"flash_attention", "xformers_attention", "sdp_attention", "flex_attention", "eager_attention", "s2_attention", "sageattention"}


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
    if method != "pretrain":
        _of_templates(sheet)
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


def _of_templates(sheet: Sheet) -> None:
    """Whose words stand around a row's: the type's, the named template's, or the model's own."""
    sets = sheet.get("datasets")
    types = {str(one.get("type")).partition(".")[0] for one in sets if isinstance(one, dict)} if isinstance(sets, list) else set()
    if own := sorted(types - {"chat_template", "completion", "None"} - {kind for kind in types if kind.startswith("{")}):
        sheet.differs(
            f"`type: {own[0]}` puts rows into words of its own there (such as `### Instruction:`). Here they are turns of the model's chat "
            f"template, for training and answers alike: look with `luthier show`."
        )
    named = sheet.get("chat_template")
    if named not in (None, "tokenizer_default"):
        sheet.differs(
            f"`chat_template: {named}` is Axolotl's copy. Here the model's own template is used; compare once with `luthier show`."
        )


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
