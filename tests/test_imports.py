"""Read from the source: the direction of imports, where heavy libraries stand, who sets environment variables."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mbt_lite"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the top; a file imports from its own room and from the layers below its own.
LAYERS = (
    ("cli", "__main__"),
    ("bench", "doctor", "look"),
    ("stages", "export", "plan", "chat"),
    ("training", "judge", "score", "harness"),
    ("methods", "report"),
    ("generation", "traces"),
    ("student", "endpoint"),
    ("scripted",),
    ("metrics",),
    ("rewards", "strategies"),
    ("data", "prompts"),
    ("architecture", "progress"),
    ("recipe", "run_dir", "launch"),
    ("layouts",),
    ("text",),
    ("records", "files", "memory", "console", "cards"),
    ("screen", "shipped"),
    ("errors", "__init__"),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

# Imports within one layer, each with its reason.
SIDEWAYS = {
    ("__main__", "cli"): "the same program under another name",
    ("look", "doctor"): "a recipe that init writes is examined at once",
    ("plan", "stages"): "measures the stages' own trainers",
    ("export", "stages"): "an export answers the questions of eval",
}

HEAVY = {"torch", "transformers", "trl", "peft", "unsloth", "datasets", "bitsandbytes", "accelerate", "triton"}
HEAVY_FILES = (
    "student/*.py",
    "generation/*.py",
    "training/*.py",
    "export/merge.py",
    "export/compare.py",
    "export/rounding.py",
    "export/run.py",
    "export/answers.py",
    "bench/sft_run.py",
    "plan/trial.py",
    "plan/simulation.py",
    "bench/grpo_step.py",
    "bench/reward.py",
    "rewards/kernel*.py",
    "bench/step_clock.py",
)
CLIENTS = {"openai", "httpx"}
CLIENT_FILES = ("endpoint/*.py",)
ENVIRONMENT_FILE = "student/libraries.py"


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def modules(nodes: Iterator[ast.AST], package: Path) -> Iterator[tuple[int, str]]:
    """Give (line, dotted module) of every import; `from mbt_lite import x` counts as `mbt_lite.x` if x is a part."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{package}:{node.lineno}: relative import; write the whole name"
            assert node.module is not None
            for alias in node.names:
                is_part = node.module == "mbt_lite" and alias.name in RANK
                yield node.lineno, f"{node.module}.{alias.name}" if is_part else node.module


def parts_imported(file: Path) -> Iterator[tuple[int, str]]:
    """Give (line, part of the package) of every import of ours, in functions and for type checkers too."""
    for line, module in modules(ast.walk(tree_of(file)), file):
        head, _, rest = module.partition(".")
        if head == "mbt_lite":
            yield line, rest.partition(".")[0] or "__init__"


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Give the nodes that run when a module is imported: no function bodies, nothing for type checkers only."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return
    for child in ast.iter_child_nodes(node):
        yield from at_import(child)


def matches(file: Path, patterns: tuple[str, ...]) -> bool:
    return any(file.relative_to(PACKAGE).match(pattern) for pattern in patterns)


def test_the_package_is_found() -> None:
    assert len(FILES) >= 10


def test_every_file_belongs_to_a_layer() -> None:
    missing = sorted({part_of(file) for file in FILES} - RANK.keys())
    assert not missing, "not in the map of layers; add it there and to the README's tree"


def test_imports_run_downwards() -> None:
    wrong = [
        f"mbt_lite/{name_of(file)}:{line}: {source} imports {target}"
        for file in FILES
        for source in [part_of(file)]
        for line, target in parts_imported(file)
        if target != source and (source, target) not in SIDEWAYS and RANK[source] >= RANK[target]
    ]
    assert not wrong


def test_every_import_within_a_layer_is_of_one_layer() -> None:
    assert all(RANK[source] == RANK[target] for source, target in SIDEWAYS)


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("stages/*.py")), ids=name_of)
def test_stages_never_import_each_other(file: Path) -> None:
    stages = {f"mbt_lite.stages.{stage}" for stage in ("gen", "sft", "grpo", "eval")}
    assert not [found for found in modules(ast.walk(tree_of(file)), file) if found[1] in stages]


def outside(patterns: tuple[str, ...]) -> list[Path]:
    return [file for file in FILES if not matches(file, patterns)]


def imports_of(libraries: set[str], file: Path, nodes: Iterator[ast.AST]) -> list[str]:
    """Give the lines that import one of some libraries."""
    heads = sorted({(line, module.partition(".")[0]) for line, module in modules(nodes, file)})
    return [f"mbt_lite/{name_of(file)}:{line}: {head}" for line, head in heads if head in libraries]


def test_heavy_libraries_are_imported_late() -> None:
    assert not [one for file in outside(HEAVY_FILES) for one in imports_of(HEAVY, file, at_import(tree_of(file)))]


def test_only_the_endpoint_knows_its_client() -> None:
    assert not [one for file in outside(CLIENT_FILES) for one in imports_of(CLIENTS, file, ast.walk(tree_of(file)))]


def sets_environment(node: ast.AST) -> bool:
    """Tell whether a node writes an environment variable."""
    environment = ("os.environ", "environ")
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return ast.unparse(node.value) in environment
    if isinstance(node, ast.AugAssign):
        return ast.unparse(node.target) in environment
    if isinstance(node, ast.Call):
        writers = {f"{name}.{verb}" for name in environment for verb in ("setdefault", "update", "pop", "clear")}
        return ast.unparse(node.func) in writers | {"os.putenv", "os.unsetenv"}
    return False


def test_one_file_sets_environment_variables() -> None:
    assert {name_of(file) for file in FILES for node in ast.walk(tree_of(file)) if sets_environment(node)} == {
        ENVIRONMENT_FILE
    }


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['A'] = 'b'",
        "del os.environ['A']",
        "os.environ.setdefault('A', 'b')",
        "environ.update(A='b')",
        "os.environ |= {}",
    ],
)
def test_sets_environment_sees_every_way(code: str) -> None:
    assert any(sets_environment(node) for node in ast.walk(ast.parse(code)))


def test_sets_environment_allows_reading() -> None:
    assert not any(sets_environment(node) for node in ast.walk(ast.parse("os.environ['A']; os.environ.get('A')")))


def test_at_import_leaves_functions_and_type_checking_out() -> None:
    code = "import a\nif TYPE_CHECKING:\n    import b\ndef f():\n    import c\nclass C:\n    import d\n"
    assert [module for _, module in modules(at_import(ast.parse(code)), PACKAGE)] == ["a", "d"]


def loaded_after(code: str) -> set[str]:
    """Give the top-level modules that are loaded after some code, in a fresh interpreter."""
    report = f"{code}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    loaded = loaded_after("import mbt_lite.cli")
    assert "typer" in loaded
    assert not (HEAVY | CLIENTS | {"numpy", "rich", "pydantic", "yaml"}) & loaded


PURE = ("recipe", "run_dir", "layouts", "data", "prompts", "text", "metrics", "rewards", "traces", "architecture")


@pytest.mark.parametrize("part", PURE)
def test_importing_a_pure_part_imports_nothing_heavy(part: str) -> None:
    names = [name_of(file) for file in FILES if part_of(file) == part and not matches(file, HEAVY_FILES)]
    dotted = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names]
    assert not (HEAVY | CLIENTS) & loaded_after("; ".join(["pass", *(f"import mbt_lite.{name}" for name in dotted)]))
