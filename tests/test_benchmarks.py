"""The benchmarks run, and what they compare computes the same. No test looks at a time."""

import pytest
import torch

from benchmarks import cases, report
from benchmarks.__main__ import main


@pytest.fixture(scope="module")
def results():
    threads = torch.get_num_threads()
    yield main(["--quick"])
    torch.set_num_threads(threads)


def test_the_twins_agree_and_are_all_measured(results):
    assert len(results["solvers"]) == 6 and len(results["updates"]) == 2
    for record in results["solvers"]:
        assert {"traced", "PhiFlow", "torch by hand"} <= set(record["times"])
    assert {"recorded", "eager", "eager, nn.Conv1d"} <= set(results["updates"][0]["times"])
    assert set(results["updates"][1]["times"]) == {"one after another", "together"}
    assert [set(record["times"]) for record in results["rollouts"]] == [{"traced", "step by step"}]
    page, = results["page"]
    assert set(page["times"]) == {"torch, recorded", "page, compiled", "page, JavaScript"}
    assert len(results["equality"]) == 6
    assert all(0 < row[kind] < 1e-5 for row in results["equality"] for kind in ("compiled", "JavaScript"))


def test_a_twin_that_computes_something_else_is_noticed():
    one = torch.ones(3)
    with pytest.raises(AssertionError, match="not the same computation"):
        cases._assert_close("twin", [one], [one + 1e-3])
    with pytest.raises(AssertionError, match="not the same computation"):
        cases._assert_close("twin", [one], [one * torch.nan])


def test_the_table_goes_between_its_marks(results):
    table = report.markdown(results)
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    written = report.insert(text, table)
    assert written == f"before\n{report.BEGIN}\n{table}\n{report.END}\nafter\n"
    assert report.insert(written, table) == written
    with pytest.raises(ValueError, match="no place for the table"):
        report.insert("no marks", table)


def test_checkpointing_changes_no_bit_of_the_gradient():
    (_, expected), (_, found) = (cases._peak(2, checkpoint) for checkpoint in (False, True))
    assert all(torch.equal(e, f) for e, f in zip(expected, found, strict=True))
