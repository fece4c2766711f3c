"""A user of litellm: a file, a job, and questions to what came of it, by its functions alone. Runs in litellm's own environment.

    python litellm_jobs.py TRAIN.jsonl QUESTION

It prints what it was told as JSON. The server and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import litellm

OPENAI = {"custom_llm_provider": "openai"}
"""Which of litellm's ways to talk is meant, wherever no model's name says so."""


async def tuned(train: Path) -> dict[str, Any]:
    """The file's round trip, and the job from its beginning to its end."""
    with train.open("rb") as rows:
        file = await litellm.acreate_file(file=rows, purpose="fine-tune", **OPENAI)
    content = await litellm.afile_content(file_id=file.id, **OPENAI)
    made = await litellm.acreate_fine_tuning_job(
        model="starter", training_file=file.id, hyperparameters={"n_epochs": 8}, suffix="litellm", **OPENAI
    )
    seen = [made.status]
    while seen[-1] not in ("succeeded", "failed", "cancelled"):
        await asyncio.sleep(0.5)
        job = await litellm.aretrieve_fine_tuning_job(fine_tuning_job_id=made.id, **OPENAI)
        seen += [job.status] if job.status != seen[-1] else []
    listed = await litellm.alist_fine_tuning_jobs(limit=5, **OPENAI)
    other = await litellm.acreate_fine_tuning_job(model="starter", training_file=file.id, **OPENAI)
    cancelled = await litellm.acancel_fine_tuning_job(fine_tuning_job_id=other.id, **OPENAI)
    return {
        "same_bytes": content.content == train.read_bytes(),
        "statuses": seen,
        "model": job.fine_tuned_model,
        "listed": [found.id for found in listed.data].count(made.id),
        "cancelled": cancelled.status,
        "deleted": (await litellm.afile_delete(file_id=file.id, **OPENAI)).deleted,
    }


async def asked(model: str, question: str) -> dict[str, Any]:
    """The answer whole, streamed, and with JSON asked for; and what a wrong name raises."""
    messages = [{"role": "user", "content": question}]
    whole = await litellm.acompletion(model=f"openai/{model}", messages=messages, temperature=0, max_tokens=20)
    stream = await litellm.acompletion(model=f"openai/{model}", messages=messages, temperature=0, max_tokens=20, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    embedded = await litellm.aembedding(model="openai/starter", input=["a cat", "a dog"])
    try:
        await litellm.acompletion(model="openai/nobody", messages=messages)
    except litellm.NotFoundError as error:
        refused = str(error)
    return {
        "answer": whole.choices[0].message.content,
        "streamed": "".join(pieces),
        "tokens": whole.usage.total_tokens,
        "vectors": len(embedded.data),
        "refused": refused,
    }


async def main(train: str, question: str) -> None:
    told = await tuned(Path(train))
    print(json.dumps({**told, **await asked(told["model"], question)}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
