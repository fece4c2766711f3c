"""What is in a backup, for people."""

from datetime import datetime

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from luthier.store.backup import BLOBS, JOBS, Manifest


def tell(beginning: str, manifest: Manifest) -> None:
    """A sentence, and how many of what."""
    rows = manifest.rows
    counts = {
        "projects": rows.get("projects", 0),
        "keys": rows.get("keys", 0),
        "files": rows.get("files", 0),
        "jobs": rows.get("jobs", 0),
        "tuned models": rows.get("models", 0),
        "stored answers": rows.get("stored", 0),
    }
    console = Console(highlight=False, soft_wrap=True)
    said = ", ".join(f"{number:,} {what[:-1] if number == 1 else what}" for what, number in counts.items() if number)
    when = datetime.fromtimestamp(manifest.created_at)
    console.print(f"{escape(beginning)} {said or 'nothing yet'}, as of {when:%Y-%m-%d %H:%M:%S}.")
    stored = [manifest.members[name].bytes for name in manifest.within(BLOBS)]
    folders = [manifest.members[name].bytes for name in manifest.within(JOBS)]
    parts = [f"{len(stored):,} contents of files and models ({decimal(sum(stored))})"] if stored else []
    parts += [f"{len(folders):,} files of jobs ({decimal(sum(folders))})"] if folders else []
    if parts:
        console.print(f"[dim]{', '.join(parts)}; every one with its hash[/dim]")
