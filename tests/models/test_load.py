"""Model folders: what is wrong with one is said in a sentence that names the file."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import ModelError
from luthier.models.device import DtypeChoice, choose_dtype, default_device, is_out_of_memory, machine
from luthier.models.load import check_vocabulary, load_config, load_model, model_folder
from luthier.spec.run import ModelSpec
from luthier.testing import build_model, toy_model
from luthier.text.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
CPU = torch.device("cpu")


@pytest.fixture
def folder(toy_folder: Path, tmp_path: Path) -> Path:
    """A toy model's folder to damage."""
    return Path(shutil.copytree(toy_folder, tmp_path / "toy"))


def _set(folder: Path, **settings: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_a_model_is_loaded_in_the_type_asked_for_without_dropout(folder: Path) -> None:
    _set(folder, attention_dropout=0.5)
    for dtype in (torch.float32, torch.bfloat16):
        model = load_model(folder, dtype, CPU)
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert model.config.attention_dropout == 0 and not model.training
    stored = load_file(folder / WEIGHTS)["model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(load_model(folder, torch.float32, CPU).model.layers[0].mlp.up_proj.weight, stored)


def test_dropout_is_set_where_the_family_has_it(folder: Path) -> None:
    assert load_model(folder, torch.float32, CPU, dropout=0.1).config.attention_dropout == 0.1


def test_dropout_asked_of_a_model_without_any_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mamba"
    build_model("mamba", state_size=8, time_step_rank=4).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"`train\.dropout` is 0\.1, but this model has no dropout.*`adapter\.dropout`"):
        load_model(folder, torch.float32, CPU, dropout=0.1)
    assert load_model(folder, torch.float32, CPU).config.model_type == "mamba"


def test_the_starter_is_found_by_its_name() -> None:
    assert model_folder(ModelSpec(path="starter")).name == "starter"


def test_a_missing_folder_is_named_with_the_nearest_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"There is no model folder .*tpy\. Did you mean `toy`\?"):
        model_folder(ModelSpec(path=str(folder.parent / "tpy")))
    monkeypatch.chdir(folder.parent.parent)
    with pytest.raises(ModelError, match=r"is no folder here, and could not be fetched as a Hugging Face id .*Did you mean `toy`\?"):
        model_folder(ModelSpec(path=f"{folder.parent.name}/tpy"))


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is a file\. Give the folder"):
        model_folder(ModelSpec(path=str(folder / "config.json")))


def test_a_folder_is_taken_as_it_is(folder: Path) -> None:
    assert model_folder(ModelSpec(path=str(folder))) == folder


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def _unknown_type(folder: Path) -> None:
    _set(folder, model_type="nosuch")


def _foreign_code(folder: Path) -> None:
    (folder / "config.json").write_text('{"auto_map": {"AutoConfig": "theirs.Config"}}')


def _impossible_shape(folder: Path) -> None:
    _set(folder, num_attention_heads=3, num_key_value_heads=3)


def _layers_in_words(folder: Path) -> None:
    _set(folder, num_hidden_layers="two")


def _no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _cut_short(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def _empty(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


def _corrupted(folder: Path) -> None:
    path = folder / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes(200) + whole[220:])


def _pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 123456\n")


def _one_tensor_short(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def _wider_than_its_weights(folder: Path) -> None:
    _set(folder, intermediate_size=128)


def _one_shard_short(folder: Path) -> None:
    model = load_model(folder, torch.float32, CPU)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    sorted(folder.glob("*.safetensors"))[1].unlink()


DAMAGES: dict[Callable[[Path], None], str] = {
    _without_config: r"toy holds no config\.json",
    _broken_config: r"config\.json cannot be used: Expecting value",
    _unknown_type: r"config\.json cannot be used: .*`nosuch`",
    _foreign_code: r"config\.json: this model needs code of its own \(`auto_map`\), which is never run",
    _impossible_shape: r"config\.json cannot be used: .*hidden size \(32\) is not a multiple",
    _layers_in_words: r"config\.json cannot be used: .*'num_hidden_layers' expected int",
    _no_weights: r"toy holds no model\.safetensors",
    _pickle: r"pytorch_model\.bin is a pickle, which can run code when it is opened, and is refused",
    _cut_short: r"model\.safetensors is damaged or cut short .*Copy or download it again",
    _empty: r"model\.safetensors is damaged or cut short",
    _corrupted: r"model\.safetensors is damaged or cut short",
    _pointer: r"model\.safetensors is damaged or cut short",
    _one_tensor_short: r"asks for model\.layers\.1\.mlp\.up_proj\.weight, which the weights do not hold",
    _wider_than_its_weights: r"down_proj\.weight is \(32, 64\) in the weights and \(32, 128\) by config\.json",
    _one_shard_short: r"could not be loaded: No such file.*model-00002-of-0000",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_a_damaged_folder_is_refused_in_one_line(damage: Callable[[Path], None], folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=DAMAGES[damage]) as caught:
        load_model(folder, torch.float32, CPU)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_pickle_beside_safetensors_is_not_opened(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    load_model(folder, torch.float32, CPU)


def test_a_folder_without_a_tokenizer_says_which_file_is_missing(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"toy has no tokenizer\.json\. Copy"):
        Tokenizer.load(folder)
    load_config(folder)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    """263 ids, 260 embeddings. A model with more embeddings than ids is usual: they are padded."""
    folder = toy_model(tmp_path / "small", vocab_size=260)
    size = Tokenizer.load(folder).vocab_size
    with pytest.raises(ModelError, match=r"the tokenizer has ids up to 262, the model only 260 embeddings"):
        check_vocabulary(load_config(folder), size, folder)
    check_vocabulary(build_model(vocab_size=320).config, size, folder)


DTYPE = """
import json, torch
from luthier.models.device import choose_dtype
choice = choose_dtype("auto", 576, 1536, torch.device("cpu"))
print(json.dumps([str(choice.dtype), choice.bfloat16_gflops, choice.float32_gflops, choice.gflops]))
"""


def test_auto_computes_in_float32_where_bfloat16_is_slow() -> None:
    """As on most laptops: without AVX-512 or AMX, bf16 products are many times slower than fp32 ones. oneDNN reads its limit once."""
    here = choose_dtype("auto", 576, 1536, CPU)
    if here.dtype != torch.bfloat16:
        pytest.skip(f"bf16 is no faster than fp32 on this machine anyway: {here.bfloat16_gflops} against {here.float32_gflops} GFLOP/s")
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    run = subprocess.run([sys.executable, "-c", DTYPE], env=limited, capture_output=True, text=True, check=True)
    dtype, bfloat16, float32, speed = json.loads(run.stdout)
    assert dtype == "torch.float32" and float32 > bfloat16 and speed == float32


def test_auto_takes_the_faster_type_and_says_both_figures() -> None:
    choice = choose_dtype("auto", 64, 128, CPU)
    assert choice.bfloat16_gflops and choice.float32_gflops
    assert choice.gflops == max(choice.bfloat16_gflops, choice.float32_gflops)


def test_a_type_that_is_asked_for_is_not_measured() -> None:
    assert choose_dtype("float32", 64, 128, CPU) == DtypeChoice(torch.float32)
    assert choose_dtype("bfloat16", 64, 128, CPU).gflops is None


def test_the_machine_says_what_its_last_bits_depend_on() -> None:
    assert set(machine()) == {"cpu", "processor", "threads", "processes"} and machine()["threads"] == torch.get_num_threads()
    assert default_device().type in ("cpu", "cuda", "mps")


def test_running_out_of_memory_is_told_from_other_faults() -> None:
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**60)
    with pytest.raises(RuntimeError) as other:
        torch.zeros(2) @ torch.zeros(3)
    assert is_out_of_memory(full.value) and not is_out_of_memory(other.value)
