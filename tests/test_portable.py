"""What the tests assert holds on other processors, too; ``make portable`` asks for all of it."""

import json
import subprocess
import sys

import numpy as np
import portable
import pytest

from benchmarks import rounding

# The quickest that between them meet every kernel whose rounding a profile changes.
QUICK = [f"tests/test_{name}.py" for name in ("kuramoto_sivashinsky", "gradients", "obstacle", "networks", "chains")]
CHECKED = "e05", "e06", "e08_periodic"


def test_the_other_fft_is_a_fourier_transform_and_rounds_differently():
    """On even, odd and prime lengths, along any axis, complex and real, there and back, and its derivative."""
    code = """
import numpy as np, torch
generator = torch.Generator().manual_seed(0)
for n in (1, 2, 7, 12, 30, 48):
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(3, n, n, dtype=dtype, generator=generator)
        exact = x.double().numpy()
        pairs = [(torch.fft.fft(x, dim=1), np.fft.fft(exact, axis=1)), (torch.fft.ifft2(x), np.fft.ifft2(exact)),
                 (torch.fft.rfft2(x, norm="ortho"), np.fft.rfft2(exact, norm="ortho")),
                 (torch.fft.irfft2(torch.fft.rfft2(x), s=(n, n)), exact)]
        for found, expected in pairs:
            error = np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected)
            assert error <= 5 * torch.finfo(dtype).eps, (n, dtype, error)
x = torch.randn(2, 6, dtype=torch.float64, generator=generator, requires_grad=True)
assert torch.autograd.gradcheck(lambda x: torch.fft.ifft(torch.fft.fft(x) * torch.arange(6)).real, x)
assert torch.autograd.gradcheck(lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.arange(4)), x)
x = torch.randn(100, 48, generator=generator)
print(hasattr(torch, "other_fft"), torch.fft.fft(x.cfloat()).abs().double().sum().item())
"""
    own, other = (run_python(code, settings) for settings in ({}, {"PYTHONPATH": rounding.OTHER_FFT}))
    assert own[0] == "False" and other[0] == "True"
    assert own[1] != other[1] and float(own[1]) == pytest.approx(float(other[1]), rel=1e-6)


def run_python(code: str, settings: dict) -> list[str]:
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=rounding.variables(settings), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_differences_are_counted_and_measured():
    expected = {"a|0": np.array([1.0, -2.0]), "a|1": np.array([4.0, 4.0]), "b|0": np.ones(3)}
    found = {**expected, "a|1": np.array([4.0, 4.4])}
    assert rounding.compare(found, expected) == {"a": (0.25, pytest.approx(0.1)), "b": (0, 0)}


def test_what_is_stored_is_of_every_setting_and_profile():
    rows = json.loads(rounding.STORED.read_text(encoding="utf-8"))["differences"]
    assert set(rows) == {*rounding.SETTINGS, *(f"profile {name}" for name in rounding.PROFILES)}
    assert all(share == 0 for share, _ in rows["none, once more"].values())
    for name in rounding.PROFILES:
        assert rows[f"profile {name}"]["KS, 1 step"][0] > 0.5


def test_gradients_identities_and_checks_hold_on_another_processor():
    """On the one that differs most: another Fourier transform, old instructions, two threads and no compiler."""
    assert portable.run("fft", [*QUICK, *(f"tests/test_checks.py::test_the_code_gives_what_is_stored[{name}]"
                                          for name in CHECKED)])


def test_a_failure_under_one_profile_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(portable, "run", lambda profile, arguments: (profile, arguments[0]) != ("sse", "notebooks"))
    assert portable.main([]) == 1
    *_, last = capsys.readouterr().out.split("\n\n")
    lines = last.splitlines()
    assert len(lines) == len(rounding.PROFILES) * 3
    assert [line.split()[:3] for line in lines if "passed" not in line] == [["sse", "chapters", "FAILED"]]
    assert portable.main(["fft", "--part", "checks"]) == 0
    with pytest.raises(SystemExit):
        portable.main(["arm"])
    assert "there is no profile 'arm'; choose from amd, avx2, sse, fft" in capsys.readouterr().err


def test_every_test_has_its_part():
    """A new file of tests is repeated on other processors unless it is listed as one that looks elsewhere."""
    names = {path.stem.removeprefix("test_") for path in (portable.ROOT / "tests").glob("test_*.py")}
    assert portable.ELSEWHERE <= names
    assert set(portable.NUMBERS) == {f"tests/test_{name}.py" for name in names - portable.ELSEWHERE}
