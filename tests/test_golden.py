"""Golden pictures: the bundled models draw what they drew when the pictures were last accepted.

On the same stack (fingerprint) to the last bit, elsewhere within the tolerances of `golden/cases.py`; the test prints
which of the two it checked. Nothing here regenerates them: that is `python -m tests.golden.regenerate`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from golden import cases
from golden.regenerate import CHANGED

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def recorded() -> dict[str, dict[str, str]]:
    """Return fingerprint and weights of the golden pictures; fail if the weights are others now."""
    record = json.loads(cases.RECORD.read_text())
    weights = cases.weights()
    changed = [name for name, digest in weights.items() if record["weights"].get(name) != digest]
    if changed:
        pytest.fail(f"{', '.join(changed)} changed since the golden pictures were drawn: {cases.REGENERATE}")
    return record


def test_every_case_has_its_picture_and_no_picture_is_left_over(recorded: dict[str, dict[str, str]]) -> None:
    assert set(recorded["cases"]) == set(cases.CASES) == {file.stem for file in cases.FOLDER.glob("*.png")}
    assert len(cases.CASES) >= 3
    for name in cases.CASES:
        golden = cases.load(name)
        assert len(golden.losses) == len(golden.moved) == cases.config_of(name).steps <= 10
        assert cases.config_of(name).run.precision == "fp32"


@pytest.mark.parametrize("name", list(cases.CASES))
def test_a_golden_picture_is_drawn_again(
    name: str, recorded: dict[str, dict[str, str]], record_property: Callable[[str, object], None]
) -> None:
    stack = cases.fingerprint()
    other = [key for key, value in stack.items() if recorded["fingerprint"].get(key) != value]
    golden, found = cases.load(name), cases.draw(name)
    wrong = cases.close(found, golden) if other else cases.exact(found, golden)
    branch = f"within tolerance (another {', '.join(other)})" if other else "to the last bit (same stack)"
    record_property("told", f"golden {name}: compared {branch}")
    assert not wrong, f"{name} is drawn otherwise: {wrong}; {cases.distances(found, golden)}; meant? {cases.REGENERATE}"


@pytest.mark.parametrize("what", list(CHANGED))
def test_a_changed_constant_of_the_loop_breaks_both_comparisons(what: str, recorded: dict[str, dict[str, str]]) -> None:
    golden, found = cases.load("cat"), cases.draw("cat", CHANGED[what])
    assert cases.exact(found, golden)
    assert cases.close(found, golden)


@pytest.mark.parametrize("name", list(cases.CASES))
def test_gradients_that_are_off_by_a_ten_thousandth_stay_within_the_tolerance(
    name: str, recorded: dict[str, dict[str, str]]
) -> None:
    assert not cases.close(cases.draw(name, jitter=1e-4), cases.load(name))


def test_a_drawing_of_another_length_or_size_is_not_close(recorded: dict[str, dict[str, str]]) -> None:
    golden = cases.load("cat")
    short = cases.Drawing(golden.pixels, golden.losses[:-1], golden.moved[:-1])
    small = cases.Drawing(golden.pixels[:-1], golden.losses, golden.moved)
    broken = cases.Drawing(golden.pixels, [float("nan")] * len(golden.losses), golden.moved)
    assert all(cases.close(drawing, golden) for drawing in (short, small, broken))
    assert not cases.close(golden, golden)
    assert not cases.exact(golden, golden)
