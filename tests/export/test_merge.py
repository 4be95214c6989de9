"""The merge against peft's own, for each kind of adapter and base."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from safetensors.torch import load_file, save_file
from tiny_base import save_base, save_moved_adapter

from mbt_lite.errors import ModelError
from mbt_lite.export import merge
from mbt_lite.export.rounding import rounding_of
from mbt_lite.recipe import schema
from mbt_lite.student.loading import load_student


def read_all(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for shard in merge.shards(folder) for name, tensor in load_file(shard).items()}


def merged_by_peft(
    base: Path, adapter: Path, weights: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """The independent route: the whole model in float32, with other weights if some are given, peft's own merge."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    plain.load_state_dict(weights or {}, strict=False)
    return PeftModel.from_pretrained(plain, str(adapter)).merge_and_unload().state_dict()


def weights_of_student(model: schema.Model) -> dict[str, torch.Tensor]:
    """What a loaded student computes with: its packed layers unpacked by the library, the rest as it is."""
    from bitsandbytes.functional import dequantize_4bit

    loaded = load_student(model).model
    return {
        name: dequantize_4bit(weight.data, weight.quant_state) if hasattr(weight, "quant_state") else weight.data
        for name, weight in loaded.named_parameters()
    }


@pytest.mark.parametrize(
    ("variant", "dtype", "tied", "shard"),
    [
        ("lora", torch.float32, True, "24KB"),
        ("lora", torch.float16, False, "24KB"),
        ("rslora", torch.bfloat16, True, "24KB"),
        ("dora", torch.bfloat16, False, "24KB"),
        ("dora", torch.float32, True, "1GB"),
    ],
    ids=["lora float32 tied", "lora float16", "rslora bfloat16 tied", "dora bfloat16", "dora float32 in one file"],
)
def test_merge_shards_equals_peft_but_for_one_rounding(variant, dtype, tied, shard, tmp_path) -> None:
    base = save_base(tmp_path / "base", dtype=dtype, tied=tied, shard=shard)
    assert (len(merge.shards(base)) > 2) == (shard == "24KB")
    adapter = save_moved_adapter(base, tmp_path / "adapter", schema.Lora(rank=4, alpha=8, variant=variant))
    (tmp_path / "merged").mkdir()
    calls: list[int] = []
    merge.merge_shards(base, adapter, tmp_path / "merged", merge.Kept(), lambda: calls.append(1))
    found, wanted, before = read_all(tmp_path / "merged"), merged_by_peft(base, adapter), read_all(base)
    kept = torch.float16 if dtype == torch.float16 else torch.bfloat16
    assert len(calls) == len(merge.shards(base))
    assert found.keys() == before.keys()
    assert {tensor.dtype for tensor in found.values()} == {kept}
    for name, tensor in found.items():
        # half a unit in the last place
        allowed = torch.finfo(kept).eps * wanted[name].abs() + 1e-7
        assert ((tensor.float() - wanted[name]).abs() <= allowed).all(), name
    changed = [name for name in found if not torch.equal(found[name], before[name].to(kept))]
    assert len(changed) == 2 * 7, "all linear layers of two blocks, nothing else"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_merge_onto_the_rounded_base_equals_the_4_bit_student_but_for_one_rounding(variant, dtype, tmp_path) -> None:
    base = save_base(tmp_path / "base", dtype=torch.float32)
    adapter = save_moved_adapter(base, tmp_path / "adapter", schema.Lora(rank=4, alpha=8, variant=variant), "nf4")
    model = schema.Model(name=str(base), dtype=dtype, backend="transformers")
    weights = weights_of_student(model)
    rounding = rounding_of(model, base)
    assert rounding is not None
    assert len(rounding.packed) == 2 * 7
    for name, weight in read_all(base).items():
        assert torch.equal(rounding.applied(name, weight), weights[name]), name
    (tmp_path / "merged").mkdir()
    merge.merge_shards(base, adapter, tmp_path / "merged", merge.Kept(rounding, torch.float16), lambda: None)
    found, wanted = read_all(tmp_path / "merged"), merged_by_peft(base, adapter, weights)
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    for name, tensor in found.items():
        # below 6e-5 float16 counts in steps of 6e-8
        allowed = torch.finfo(torch.float16).eps * wanted[name].abs() + 1e-7
        assert ((tensor.float() - wanted[name]).abs() <= allowed).all(), name
    assert not torch.equal(found[min(rounding.packed)], read_all(base)[min(rounding.packed)].half())


def test_rounding_of_a_student_in_16_bits_is_none(tmp_path) -> None:
    base = save_base(tmp_path / "base")
    assert rounding_of(schema.Model(name=str(base), quantization="none"), base) is None


def test_merge_shards_refuses_a_sum_that_float16_cannot_hold(tmp_path) -> None:
    (tmp_path / "base").mkdir()
    save_file({"norm": torch.full((2,), 7e4)}, tmp_path / "base" / merge.SINGLE)
    adapter = write_adapter(tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"norm does not fit into float16 \(got 70000\)"):
        merge.merge_shards(tmp_path / "base", adapter, tmp_path, merge.Kept(dtype=torch.float16), lambda: None)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what Linux tells of a process")
def test_merge_shards_holds_less_than_a_shard(tmp_path, monkeypatch) -> None:
    """One shard of 96 MiB: what it takes beyond the file's own pages stays below a third of it."""
    (tmp_path / "base").mkdir()
    tensors = {f"layer{number}": torch.full((1 << 22,), 1.0, dtype=torch.bfloat16) for number in range(12)}
    save_file(tensors | {"x.weight": torch.ones(2, 2, dtype=torch.bfloat16)}, tmp_path / "base" / merge.SINGLE)
    del tensors
    adapter, held = write_adapter(tmp_path / "adapter"), list[int]()
    save_file(
        {f"base_model.model.x.lora_{part}.weight": torch.ones(2, 2) for part in "AB"},
        tmp_path / "adapter" / merge.WEIGHTS,
    )
    one = merge._merged

    def watched(*arguments):
        merged = one(*arguments)
        status = Path("/proc/self/status").read_text()
        held.append(int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) >> 10)
        return merged

    monkeypatch.setattr(merge, "_merged", watched)
    (tmp_path / "merged").mkdir()
    merge.merge_shards(tmp_path / "base", adapter, tmp_path / "merged", merge.Kept(), lambda: None)
    assert len(held) == 13
    assert max(held) - held[0] < 32
    assert load_file(tmp_path / "merged" / merge.SINGLE)["x.weight"].tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_merged_bytes_is_what_is_written(tmp_path) -> None:
    base = save_base(tmp_path / "base")
    adapter = save_moved_adapter(base, tmp_path / "adapter", schema.Lora(rank=4, alpha=8))
    (tmp_path / "merged").mkdir()
    merge.merge_shards(base, adapter, tmp_path / "merged", merge.Kept(), lambda: None)
    written = sum(tensor.nbytes for tensor in read_all(tmp_path / "merged").values())
    assert merge.merged_bytes(base) == written
    index = json.loads((tmp_path / "merged" / merge.INDEX).read_text())
    assert index["metadata"]["total_size"] == written


def test_update_by_hand() -> None:
    """W = 3, B A = 2 with factor 1/2 on one of two inputs: [3 + 1, 0]; DoRA brings the row to length 8."""
    update = merge.Update(down=torch.tensor([[1.0, 0.0]]), up=0.5 * torch.tensor([[2.0]]))
    assert update.added_to(torch.tensor([[3.0, 0.0]])).tolist() == [[4.0, 0.0]]
    update.magnitude = torch.tensor([8.0])
    assert update.added_to(torch.tensor([[3.0, 0.0]])).tolist() == [[8.0, 0.0]]


@pytest.mark.parametrize(("rslora", "factor"), [(False, 8 / 4), (True, 8 / 2)], ids=["lora", "rslora"])
def test_read_updates_scales_by_the_variant(rslora, factor, tmp_path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8, "use_rslora": rslora}))
    tensors = {f"base_model.model.x.lora_{part}.weight": torch.ones(2, 2) for part in "AB"}
    save_file(tensors, tmp_path / merge.WEIGHTS)
    (update,) = merge.read_updates(tmp_path).values()
    assert update.up is not None
    assert update.up.unique().tolist() == [factor]


def write_adapter(folder: Path, name: str = "x.lora_A.weight", **config: object) -> Path:
    folder.mkdir()
    settings = {"r": 2, "lora_alpha": 2, "use_rslora": False} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file({f"base_model.model.{name}": torch.ones(2, 2)}, folder / merge.WEIGHTS)
    return folder


def test_merge_shards_refuses_an_adapter_of_another_base(tmp_path) -> None:
    base, adapter = save_base(tmp_path / "base"), write_adapter(tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    with pytest.raises(ModelError, match=r"1 of its weights are not in .* \(first: x.weight\)"):
        merge.merge_shards(base, adapter, tmp_path / "merged", merge.Kept(), lambda: None)


def test_merge_shards_refuses_a_quantized_base(tmp_path) -> None:
    (tmp_path / "base").mkdir()
    save_file({"x.weight": torch.ones(2, 2, dtype=torch.uint8)}, tmp_path / "base" / merge.SINGLE)
    with pytest.raises(ModelError, match=r"x.weight is quantized \(torch.uint8\)"):
        merge.merge_shards(tmp_path / "base", write_adapter(tmp_path / "adapter"), tmp_path, merge.Kept(), lambda: None)


@pytest.mark.parametrize(
    ("name", "config"),
    [("x.lora_A.weight", {"rank_pattern": {"x": 1}}), ("x.bias", {}), ("x.lora_embedding_A", {})],
    ids=["a rank of its own", "a bias", "an embedding"],
)
def test_read_updates_refuses_what_it_cannot_add(name, config, tmp_path) -> None:
    with pytest.raises(ModelError, match="cannot be merged"):
        merge.read_updates(write_adapter(tmp_path / "adapter", name, **config))


def test_shards_wants_safetensors(tmp_path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="no safetensors weights"):
        merge.shards(tmp_path)
