"""What nvidia-smi says, in the words of real machines: lines and errors from public bug reports, with their drivers."""

import subprocess
import sys
from pathlib import Path

import pytest

from mbt_lite import cards
from mbt_lite.errors import ModelError
from mbt_lite.student.backend import refuse_unseen_card

ROOT = Path(__file__).parents[1]
GIB = 2**30


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `nvidia-smi` on an otherwise empty PATH; a test writes what it does."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(cards, "_ON_WSL", tmp_path / "wsl")
    return tmp_path / "nvidia-smi"


def says(program: Path, text: str, code: int = 0, *, knows: bool = True) -> None:
    """Write a program that answers; one that does not know `compute_cap` refuses it, as drivers up to 470 do."""
    refusal = 'case "$1" in *compute_cap*) echo \'Field "compute_cap" is not a valid field to query.\'; exit 2;; esac\n'
    program.write_text(f"#!/bin/sh\n{'' if knows else refusal}echo '{text}'\nexit {code}\n")
    program.chmod(0o755)


SEEN = {
    "two cards": (
        "NVIDIA TITAN V, 12288, 570.86.15, 7.0\nNVIDIA RTX 5880 Ada Generation, 49140, 570.86.15, 8.9",
        cards.Card("NVIDIA RTX 5880 Ada Generation", 49140 * 2**20, "570.86.15", (8, 9)),
        "cu126",
    ),
    "server": (
        "NVIDIA A10, 23028, 525.85.12, 8.6", cards.Card("NVIDIA A10", 23028 * 2**20, "525.85.12", (8, 6)), "cu126",
    ),
    "colab": ("Tesla T4, 15360, 550.54.15, 7.5", cards.Card("Tesla T4", 15 * GIB, "550.54.15", (7, 5)), "cu126"),
    "laptop": (
        "NVIDIA RTX PRO 2000 Blackwell Generation Laptop GPU, 8151, 580.95.05, 12.0",
        cards.Card("NVIDIA RTX PRO 2000 Blackwell Generation Laptop GPU", 8151 * 2**20, "580.95.05", (12, 0)),
        "cu130",
    ),
    "shared memory": (
        "NVIDIA GB10, [N/A], 580.142, 12.1", cards.Card("NVIDIA GB10", None, "580.142", (12, 1)), "cu130",
    ),
    "volta on a new driver": (
        "Tesla V100-SXM2-16GB, 16384, 580.95.05, 7.0",
        cards.Card("Tesla V100-SXM2-16GB", 16 * GIB, "580.95.05", (7, 0)),
        "cu126",
    ),
    "warning": (
        "NVIDIA GeForce RTX 3090, 24576, 535.183.01, 8.6\nWARNING: infoROM is corrupted at gpu 0000:0A:00.0",
        cards.Card("NVIDIA GeForce RTX 3090", 24 * GIB, "535.183.01", (8, 6)),
        "cu126",
    ),
    "windows": (
        "NVIDIA GeForce RTX 4090, 24564, 591.44, 8.9",
        cards.Card("NVIDIA GeForce RTX 4090", 24564 * 2**20, "591.44", (8, 9)),
        "cu130",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_read_cards_and_the_build_for_the_fastest(name: str, smi: Path) -> None:
    text, card, build = SEEN[name]
    says(smi, text)
    found = cards.read_cards()
    assert len(found) == sum(", " in line for line in text.splitlines())
    assert cards.best_card(found) == card
    assert cards.choose_build(card).name == build


@pytest.mark.parametrize("driver", ["470.182.03", "580.95.05"])
def test_read_cards_of_an_nvidia_smi_that_knows_no_capability(driver: str, smi: Path) -> None:
    """Also an old program beside a new driver, as a container may have it."""
    says(smi, f"NVIDIA GeForce RTX 3060, 12288, {driver}", knows=False)
    assert cards.read_cards() == (cards.Card("NVIDIA GeForce RTX 3060", 12 * GIB, driver, None),)


REFUSED = {
    "old driver": ("NVIDIA GeForce GTX 1080 Ti, 11264, 442.92, 6.1", r"too old .* \(got 442.92\); update it to 525"),
    "old driver of a new card": (
        "NVIDIA GeForce RTX 5090, 32607, 570.133.07, 12.0", r"too old for torch \(got 570.133.07\); update it to 580.65"
    ),
    "old card": ("Tesla K80, 11441, 535.183.01, 3.7", "no torch for cu130 or cu126 is made for this card"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_choose_build_refuses_with_the_cure(name: str, smi: Path) -> None:
    text, said = REFUSED[name]
    says(smi, text)
    with pytest.raises(ModelError, match=said):
        cards.choose_build(cards.read_cards()[0])


def test_choose_build_of_one_asked_for() -> None:
    """vLLM is compiled for one CUDA."""
    card = cards.Card("NVIDIA GeForce RTX 3090", 24 * GIB, "580.95.05", (8, 6))
    assert cards.choose_build(card, "cu130").cuda == "13.0"
    with pytest.raises(ModelError, match=r"update it to 580\.65 or newer"):
        cards.choose_build(cards.Card(card.name, card.memory, "550.54.15", (8, 6)), "cu130")
    with pytest.raises(ModelError, match="no torch for cu130 is made for this card"):
        cards.choose_build(cards.Card("Tesla V100-SXM2-16GB", 16 * GIB, "580.95.05", (7, 0)), "cu130")


FAILED = {
    "update without restart": (
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.183", 18, "restart the",
    ),
    "no kernel module": (
        "NVIDIA-SMI has failed because it couldn_t communicate with the NVIDIA driver. Make sure that the latest "
        "NVIDIA driver is installed and running.", 9, "install the NVIDIA driver anew",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILED)
def test_a_driver_that_does_not_answer_is_one_line(name: str, smi: Path) -> None:
    text, code, cure = FAILED[name]
    says(smi, text, code)
    with pytest.raises(ModelError, match=f"nvidia-smi: the driver does not answer .*; {cure}") as error:
        cards.read_cards()
    assert "\n" not in str(error.value)


def test_no_program_no_device_and_hidden_cards_are_no_card(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cards.read_cards() == ()
    says(smi, "No devices were found", 6)
    assert cards.read_cards() == ()
    says(smi, "Tesla T4, 15360, 550.54.15, 7.5")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert cards.read_cards() == ()


@pytest.mark.parametrize(
    ("visible", "order", "card"),
    [("1", None, "TITAN V"), ("0,1", None, "RTX"), ("1", "PCI_BUS_ID", "RTX"), ("7", None, "RTX TITAN V")],
)
def test_a_card_chosen_by_its_number_is_the_only_one(
    visible: str, order: str | None, card: str, smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(smi, "TITAN V, 12288, 570.86.15, 7.0\nRTX, 49140, 570.86.15, 8.9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    assert " ".join(one.name for one in cards.read_cards()) == card


def test_a_lost_card_beside_one_that_answers_is_named(smi: Path) -> None:
    says(smi, "NVIDIA GeForce RTX 3090, 24576, 535.183.01, 8.6", 15)
    smi.write_text(smi.read_text().replace("exit", "echo 'Unable to determine the device handle' >&2\nexit"))
    with pytest.raises(ModelError, match="got Unable to determine the device handle NVIDIA GeForce"):
        cards.read_cards()


def test_a_program_that_cannot_run_is_one_line(smi: Path) -> None:
    smi.write_bytes(b"\x7fELF\xff no program")
    smi.chmod(0o755)
    with pytest.raises(ModelError, match=r"nvidia-smi: the driver does not answer .*Exec format error"):
        cards.read_cards()
    smi.write_bytes(b"#!/bin/sh\necho 'Driver \xff lost'\nexit 9\n")
    with pytest.raises(ModelError, match="lost"):
        cards.read_cards()


@pytest.mark.parametrize(
    ("driver", "cuda", "cure"),
    [
        ("535.183.01", "13.0", "update the driver to 580.65 or newer, or `make setup-gpu`"),
        ("580.95.05", None, "make setup-gpu"),
        ("580.95.05", "13.0", "restart the machine"),
    ],
)
def test_unseen_names_the_cure(driver: str, cuda: str | None, cure: str) -> None:
    said, told = cards.unseen(cards.Card("NVIDIA GeForce RTX 3090", 24 * GIB, driver, (8, 6)), cuda)
    assert said.startswith(f"NVIDIA GeForce RTX 3090 (driver {driver}) is there, but ")
    assert told.startswith(cure)


def test_refuse_unseen_card_where_torch_does_not_see_it(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refuse_unseen_card()
    says(smi, "NVIDIA GeForce RTX 3090, 24576, 535.183.01, 8.6")
    with pytest.raises(ModelError, match=r"card: NVIDIA GeForce RTX 3090 .* set CUDA_VISIBLE_DEVICES="):
        refuse_unseen_card()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    refuse_unseen_card()


def test_main_needs_no_package_and_prints_the_index(smi: Path, tmp_path: Path) -> None:
    says(smi, "Tesla T4, 15360, 550.54.15, 7.5")
    bare = [sys.executable, "-S", "-m", "mbt_lite.cards", "index"]
    environment = {"PATH": f"{tmp_path}:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(bare, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "https://download.pytorch.org/whl/cu126\n"
    smi.unlink()
    done = subprocess.run(bare, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no card of NVIDIA is here" in done.stderr
