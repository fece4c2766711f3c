"""A user of DSPy: a model tuned by its OpenAI provider, then asked by both of DSPy's engines. Runs in DSPy's own environment.

    python dspy_finetune.py TRAIN.jsonl QUESTION

Its last line is what it was told, as JSON. The server and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import json
import os
import sys
from pathlib import Path

import dspy

ASKED = {"temperature": 0, "max_tokens": 20, "cache": False, "api_base": os.environ["OPENAI_BASE_URL"]}
"""DSPy's own engine, lm15, does not read the variable."""


def main(train: str, question: str) -> None:
    rows = [json.loads(line) for line in Path(train).read_text(encoding="utf-8").splitlines()]
    untuned = dspy.LM("openai/gpt-4o-mini-2024-07-18", **ASKED)
    job = untuned.finetune(rows, "chat", {"n_epochs": 8})
    tuned = job.result()
    told = {"model": tuned.model, "provider": type(untuned.provider).__name__, "status": job.status().value}
    for engine, kind in (("lm15", "chat"), ("lm15", "responses"), ("litellm", "chat")):
        (answer,) = dspy.LM(f"openai/{tuned.model}", engine=engine, model_type=kind, **ASKED)(question)
        told[f"{engine} {kind}"] = answer["text"] if isinstance(answer, dict) else answer
    (told["at once"],) = tuned(question)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
