"""What no file does: the rules of the house that are seen in the code itself."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest
from sources import EVERYTHING, PRODUCT, ROOT, Source, argument, dotted, source, sources

from genplatform import errors

PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
LOADS = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}
CLOCKS = {
    "time.time",
    "time.monotonic",
    "time.sleep",
    "time.perf_counter",
    "datetime.datetime.now",
    "datetime.date.today",
}
CHANCE = ("random.", "secrets.", "uuid.")
ENVIRONMENT = ("os.environ", "os.getenv", "os.putenv", "os.environb")

# Who reads the environment beside settings.py, and why.
READS_THE_ENVIRONMENT = {
    "workers/genworkers/commanding/surroundings.py": "a command is told a part of what its node has",
    "workers/genworkers/pip_environments.py": "pip is told how its node reaches an index",
    "workers/genworkers/training/ray_gang.py": "Ray Train and gloo take settings from nowhere else",
    "workers/genworkers/training/trackers.py": "a tracker of experiments is named by its own variables",
    "platform/genplatform/settings.py": "the one reader",
}
# Who prints beside the CLI, and why.
PRINTS = {
    "cli/": "it is what a terminal sees",
    "platform/genplatform/local/": "its commands speak to the terminal that started them",
    "workers/genworkers/conformance.py": "its process is what `genctl recipes check` reads",
    "platform/genplatform/__main__.py": "the process's entry says why it could not do what was asked",
    "workers/genworkers/data/check.py": "the command line reads what it says",
    "workers/genworkers/huggingface.py": "the command line reads why it could not do what was asked",
}
# Rooms that are given time and chance, so that a test can give them others.
GIVEN_TIME = ("domain", "spec", "scheduling", "services", "queues", "catalog", "dispatch")
TAKES_TIME = {
    "platform/genplatform/catalog/migrations/versions/0001_the_first_tables.py": "a migration has no caller to give it",
    "platform/genplatform/catalog/migrations/versions/0002_submissions_own_their_jobs.py": "nor has this one",
}


def lines(found: list[tuple[Source, int]]) -> list[str]:
    return [f"{s.where}:{line}" for s, line in found]


def calls_of(wanted, *folders: str) -> list[tuple[Source, ast.Call]]:
    """Return the calls whose name `wanted` accepts."""
    return [(s, call) for s in sources(*folders) for name, call in s.calls if wanted(name, call)]


def test_nothing_is_pickled():
    found = [(s, line) for s in sources(*EVERYTHING) for name, line in s.imported if name.split(".")[0] in PICKLES]

    assert lines(found) == []


def test_torch_loads_weights_only():
    found = calls_of(
        lambda name, call: name == "torch.load" and argument(call, "weights_only") is not True, *EVERYTHING
    )

    assert lines([(s, c.lineno) for s, c in found]) == []


def test_numpy_loads_no_objects():
    found = calls_of(lambda name, call: argument(call, "allow_pickle") not in (None, False), *EVERYTHING)

    assert lines([(s, c.lineno) for s, c in found]) == []


def test_nothing_that_is_read_is_run():
    found = calls_of(lambda name, call: name in LOADS, *EVERYTHING)

    assert lines([(s, c.lineno) for s, c in found if not _is_safe_yaml(c)]) == []


def _is_safe_yaml(call: ast.Call) -> bool:
    given = [dotted(a) for a in call.args[1:]] + [dotted(k.value) for k in call.keywords if k.arg == "Loader"]
    return any(name.rpartition(".")[2] in ("SafeLoader", "CSafeLoader") for name in given)


def test_no_command_goes_through_a_shell():
    found = calls_of(lambda name, call: name in SHELLS or argument(call, "shell") not in (None, False), *EVERYTHING)

    assert lines([(s, c.lineno) for s, c in found]) == []


def test_only_settings_reads_the_environment():
    found = [
        (s, line)
        for s in sources(*PRODUCT)
        for name, line in s.mentioned
        if name.startswith(ENVIRONMENT) and s.where not in READS_THE_ENVIRONMENT
    ]

    assert lines(found) == []


def test_only_what_speaks_to_a_terminal_prints():
    found = calls_of(lambda name, call: name in ("print", "sys.stdout.write", "sys.stderr.write"), *PRODUCT)

    assert lines([(s, c.lineno) for s, c in found if not s.where.startswith(tuple(PRINTS))]) == []


@pytest.mark.parametrize("room", GIVEN_TIME)
def test_time_and_chance_are_given_to_the_rooms_that_decide(room):
    found = calls_of(lambda name, call: name in CLOCKS or name.startswith(CHANCE), f"platform/genplatform/{room}")

    assert lines([(s, c.lineno) for s, c in found if s.where not in TAKES_TIME]) == []


def test_no_test_sleeps():
    found = calls_of(lambda name, call: name in ("time.sleep", "asyncio.sleep"), "tests")

    assert lines([(s, c.lineno) for s, c in found]) == []


def test_every_exception_to_a_rule_still_exists():
    named = [*READS_THE_ENVIRONMENT, *PRINTS, *TAKES_TIME]

    assert [where for where in named if not (ROOT / where).exists()] == []


@pytest.mark.parametrize("folder", ["platform/genplatform/domain", "errors.py", "settings.py"])
def test_the_lowest_floors_need_nothing_but_the_standard_library(folder):
    path = ROOT / "platform" / "genplatform" / folder
    files = [source(path)] if path.suffix else list(sources(folder))
    outside = [
        (s, line)
        for s in files
        for name, line in s.imported
        if name.split(".")[0] not in sys.stdlib_module_names
        and not name.startswith(("genplatform.domain", "genplatform.errors"))
    ]

    assert files
    assert lines(outside) == []


@pytest.mark.parametrize("program", ["import genctl.main", "from genctl import Client"])
def test_the_clients_start_light(program):
    heavy = ["ray", "torch", "sqlalchemy", "redis", "fastapi", "pydantic", "numpy", "sklearn", "genworkers"]
    ask = f"import json, sys\n{program}\nprint(json.dumps([m for m in {heavy} if m in sys.modules]))"

    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)

    assert json.loads(said.stdout) == []


def test_every_error_has_a_code_of_its_own_and_an_exit_code_that_is_documented():
    kinds: list[type[errors.GenctlError]] = [errors.GenctlError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    ours = [k for k in kinds if k.__module__ == "genplatform.errors"]

    assert len({k.code for k in ours}) == len(ours)
    assert {k.exit_code for k in ours} <= {1, 2, 3, 4, 5}
    assert all(400 <= k.status <= 599 for k in ours)
