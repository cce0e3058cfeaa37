"""Weights to take home: what was stored is loaded, all else is told in a sentence, errors are those of the cards."""

import json
import re
from dataclasses import replace

import pytest
import safetensors.torch
import torch

import dpbook_course as course
import dpbook_utils as dp
from dpbook_course.experiments import __main__ as command
from dpbook_course.experiments import chapter_code
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.studies.e04 import unrolling as e04
from dpbook_course.weights import files, kept, training
from dpbook_course.weights.files import Card, WeightsError
from dpbook_utils.networks import Ensemble

LARGEST = 3e6  # bytes of all files
ROUNDING = 1e-4  # of a card's error, computed by one network alone or on another processor: a dozen chaotic steps
AGREEMENT = 3e-2  # with the record of a study: a training amplifies rounding, too; another seed differs by a tenth
STORED, PROBLEMS = files.cards()
KEPT = {(one.spec.id, setup): one for one in kept.KEPT for setup in one.setups}
MADE_UP = Card("ks", "ONE", 0, 1500, "e04", e04.SPEC.fingerprint("ONE"), (0, 1), "error.inside", 0.25, 0.125,
               {"versions": {"torch": torch.__version__}, "code": "0", "device": "a", "seconds": 1.0})


def network(seed=0):
    return KEPT["e04", "ONE"].network(e04.SPEC.variants["ONE"], seed)


@pytest.fixture
def made_up(tmp_path):
    """Two seeds of one set-up, one of another, none of them trained."""
    for card in (MADE_UP, replace(MADE_UP, seed=1), replace(MADE_UP, setup="WIG-3", updates=6000,
                                                            fingerprint=e04.SPEC.fingerprint("WIG-3"))):
        files.save(card, network(card.seed).state_dict(), tmp_path)
    return tmp_path


def test_what_was_stored_is_loaded(made_up):
    path = MADE_UP.path(made_up)
    assert path == made_up / "e04" / "ONE-1500-0.safetensors"
    card, weights = files.read(path)
    assert card == MADE_UP and weights.keys() == network().state_dict().keys()
    u = ks.restarts()["validation"][:2, 0]
    length = ks.trajectories("validation").length[:2]
    for seed in (0, 1):
        step = course.load("KS ", "one", seed=seed, root=made_up)
        assert torch.equal(step(u, length=length), ks.hybrid(network(seed))(u, length=length))
        assert all(weight.requires_grad for weight in step.parameters()), "to be trained further"


def test_the_most_updates_are_the_default(made_up):
    files.save(replace(MADE_UP, updates=6000), network(5).state_dict(), made_up)
    found = [course.load("ks", "ONE", updates=updates, root=made_up).state_dict() for updates in (None, 6000, 1500)]
    (name,) = [name for name in found[0] if name.endswith("layers.0.weight")]
    assert torch.equal(found[0][name], found[1][name]) and not torch.equal(found[0][name], found[2][name])


@pytest.mark.parametrize("asked, said", [
    (("kss", "ONE"), "load: no weights for the problem 'kss'; did you mean ks? there are 'ks'"),
    (("ks", "WIG3"), "load: no weights for the set-up 'WIG3' of 'ks'; did you mean WIG-3? there are 'ONE', 'WIG-3'"),
    (("ks", "ONE", 7), "load: no weights for the seed 7 of 'ks', 'ONE'; there are 0, 1"),
    (("ks", "ONE", 1, 300), "load: no weights for the number of updates 300 of 'ks', 'ONE'; there are 1500"),
    ((3, "ONE"), "load: no weights for the problem 3; there are 'ks'")])
def test_what_there_is_not_is_said(made_up, asked, said):
    with pytest.raises(LookupError) as caught:
        course.load(*asked, root=made_up)
    assert str(caught.value) == said


def bent(path, card):
    content = bytearray(path.read_bytes())
    content[-3] ^= 64
    path.write_bytes(content)


def edited(path, card):
    """Another error on the card."""
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["card"]) | {"error": 0.001}
    path.write_bytes(safetensors.torch.save(network().state_dict(), {"card": json.dumps(about)}))


def stored_anew(**changes):
    def change(path, card):
        path.unlink()
        files.save(replace(card, **changes), network().state_dict(), path.parents[1])

    return change


def with_torch(version):
    return stored_anew(provenance={**MADE_UP.provenance, "versions": {"torch": version}})


def wider(path, card):
    path.unlink()
    files.save(card, ks.network(0, 8, 4).state_dict(), path.parents[1])


@pytest.mark.parametrize("change, said", [
    (bent, "damaged or no file of weights (its checksum differs); take it from the repository"),
    (edited, "damaged or no file of weights (its checksum differs); take it from the repository"),
    (lambda path, card: path.write_bytes(path.read_bytes()[:-100]), "damaged or no file of weights (SafetensorError"),
    (lambda path, card: path.write_bytes(b""), "damaged or no file of weights (SafetensorError"),
    (lambda path, card: path.write_bytes(safetensors.torch.save({})), "no file of weights (KeyError: 'card'"),
    (with_torch("1.13.1"), f"was trained with torch 1.13.1, and this is torch {torch.__version__}, whose operations"),
    (stored_anew(fingerprint="0123456789abcdef"), "were trained under other settings (specification 0123456789abcdef"),
    (wider, "has weights of other names or shapes than the network of e04"),
], ids=["bent", "edited", "cut", "empty", "foreign", "torch", "settings", "shapes"])
def test_a_file_that_does_not_fit_is_refused_and_left(made_up, change, said):
    path = MADE_UP.path(made_up)
    change(path, MADE_UP)
    before = path.read_bytes()
    with pytest.raises(WeightsError) as caught:
        course.load("ks", "ONE", root=made_up)
    text = str(caught.value)
    assert said in text and "python -m dpbook_course.experiments weights e04" in text and "\n" not in text
    assert path.read_bytes() == before
    assert isinstance(course.load("ks", "ONE", seed=1, root=made_up), torch.nn.Module), "the others can be used"


def test_another_minor_version_of_torch_is_no_obstacle(made_up):
    major = torch.__version__.split(".")[0]
    with_torch(f"{major}.99.0")(MADE_UP.path(made_up), MADE_UP)
    course.load("ks", "ONE", root=made_up)


def test_a_file_is_not_overwritten(made_up):
    before = MADE_UP.path(made_up).read_bytes()
    with pytest.raises(WeightsError, match="is there already and is not overwritten; move it away first: mv -n"):
        files.save(MADE_UP, network(3).state_dict(), made_up)
    assert MADE_UP.path(made_up).read_bytes() == before


@pytest.fixture
def tiny(monkeypatch):
    """One training that costs nothing, and how often it was run."""
    calls = []

    def fitted(row, seeds, budget):
        calls.append((row, seeds, budget))
        return ks.hybrid(ks.ensemble(seeds, 16, 4))

    one = replace(KEPT["e04", "ONE"], setups={"ONE": 1500}, fitted=fitted, error=lambda step, n: torch.arange(n) + 0.5,
                  short=lambda step, n: torch.ones(n))
    monkeypatch.setattr(training, "KEPT", (one,))
    return calls


def test_a_training_is_stored_once_and_goes_on_where_it_was(tiny, tmp_path, capsys):
    assert training.train(root=tmp_path) == [] and tiny == [(e04.SPEC.variants["ONE"], (0, 1), 1500)]
    for seed in kept.SEEDS:
        card, weights = files.read(replace(MADE_UP, seed=seed).path(tmp_path))
        assert (card.seed, card.error, card.short_error, card.together) == (seed, seed + 0.5, 1.0, (0, 1))
        assert all(torch.equal(value, weights[name]) for name, value in network(seed).state_dict().items())
        assert card.provenance["threads"] == 1 and torch.__version__.startswith(card.provenance["versions"]["torch"])
    assert "e04, ONE, 1500 updates" in (said := capsys.readouterr().out) and "the study's record: " in said
    assert training.train("E04", "ONE", tmp_path) == [] and len(tiny) == 1
    kept_as_it_is = MADE_UP.path(tmp_path).read_bytes()
    replace(MADE_UP, seed=1).path(tmp_path).unlink()  # as if it had been killed between the two
    assert training.train(root=tmp_path) == [] and len(tiny) == 2
    assert MADE_UP.path(tmp_path).read_bytes() == kept_as_it_is and replace(MADE_UP, seed=1).path(tmp_path).exists()


@pytest.mark.parametrize("change, said", [
    (bent, "its checksum differs"), (stored_anew(fingerprint="0123456789abcdef"), "under other settings and is not")])
def test_a_file_in_the_way_is_told_and_left(tiny, made_up, change, said):
    path = MADE_UP.path(made_up)
    change(path, MADE_UP)
    before = path.read_bytes()
    (problem,) = training.train(root=made_up)
    assert said in problem and path.name in problem and not tiny and path.read_bytes() == before


@pytest.mark.parametrize("words, said", [
    (["e77"], "no weights are kept of 'e77'; there are e04, "),
    (["e04", "WIG-99"], "no weights are kept of the set-up 'WIG-99'; there are 'ONE', ")])
def test_the_command_names_what_it_does_not_know(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["weights", *words])
    assert end.value.code == 2 and said in capsys.readouterr().err


def test_what_is_kept_is_named_once_and_belongs_to_the_studies():
    names = [(one.problem, setup) for one in kept.KEPT for setup in one.setups]
    assert len(set(names)) == len(names)
    for one in kept.KEPT:
        for setup, updates in one.setups.items():
            assert updates in one.spec.budgets[setup] and setup not in one.spec.baselines
            assert one.metric in one.spec.metrics
            step, number = one.chain(one.row(setup), one.network(one.row(setup), 0)), dp.networks.num_members
            assert number(step) == 1
        assert one.together[:2] == kept.SEEDS and set(one.together) <= set(one.spec.seeds)
        assert hasattr(course.problems, one.data)


@pytest.mark.parametrize("name", [("e04", "predictor, WIG-3"), ("e05", "interpolation, ONE"), ("e06", "residual, WIG")],
                         ids=", ".join)
def test_one_network_alone_is_the_member_that_was_trained(name):
    """The chain around it is that of the study, whose training is the study's own."""
    one = KEPT[name]
    row = one.row(name[1])
    step = one.fitted(row, (0, 1), 2)
    (networks,) = [module for module in step.modules() if isinstance(module, Ensemble)]
    alone = one.network(row, 1)
    alone.load_state_dict(networks.member(1).state_dict())
    expected, found = one.short(step, 2)[1], one.short(one.chain(row, alone), 1)[0]
    assert abs(float(found / expected) - 1) < ROUNDING


def test_the_page_runs_and_no_result_is_typed_on_it(root, monkeypatch):
    monkeypatch.chdir(root / "book")
    names = {"__name__": "trained"}
    for source in chapter_code.cells(root / "book/trained.md"):
        exec(source, names)
    assert len(names["rows"]) == len(STORED) / len(kept.SEEDS)
    assert not re.search(r"\d\.\d", chapter_code.FENCE.sub("", (root / "book/trained.md").read_text(encoding="utf-8")))


def test_the_stored_files_are_whole_and_small():
    assert not PROBLEMS and STORED
    assert sum(path.stat().st_size for path in files.FOLDER.glob("*/*")) < LARGEST
    there = {(card.study, card.setup, card.seed) for card in STORED}
    for card in STORED:
        assert KEPT[card.study, card.setup].setups[card.setup] == card.updates, "of a training that is kept"
        assert card.together == KEPT[card.study, card.setup].together
        assert all((card.study, card.setup, seed) in there for seed in kept.SEEDS)
    table = course.trained()
    assert len(table) == len(STORED) and table.problem.iloc[0] == "ks" and (table.weights > 4000).all()


@pytest.mark.parametrize("card", [card for card in STORED if card.seed == 0], ids=lambda card: (
    card.path().stem + f" of {card.study}"))
def test_a_stored_network_has_the_error_of_its_card(card):
    step = course.load(card.problem, card.setup, card.seed, card.updates)
    found = float(KEPT[card.study, card.setup].short(step, 1)[0])
    assert abs(found / card.short_error - 1) < ROUNDING


@pytest.mark.parametrize("card", [card for card in STORED if card.problem != "wake"], ids=lambda card: (
    card.path().stem + f" of {card.study}"))  # whose flows take minutes
def test_a_stored_network_is_as_good_as_the_record_of_its_study(card):
    """By the study's own measure, computed here; beside it the study's network was trained in another environment."""
    one = KEPT[card.study, card.setup]
    found = float(one.error(course.load(card.problem, card.setup, card.seed, card.updates), 1)[0])
    assert abs(found / card.error - 1) < ROUNDING
    assert abs(found / training.recorded(one, card) - 1) < AGREEMENT


@pytest.mark.parametrize("name, given", [("problem", (None, "ONE")), ("setup", ("ks", None)),
                                         ("seed", ("ks", "ONE", None))])
def test_what_does_not_say_which_network_loads_none(made_up, name, given):
    with pytest.raises(TypeError, match=f"load: {name} is None; give one of those that course.trained"):
        course.load(*given, root=made_up)


def test_a_folder_may_be_a_text_and_an_empty_one_is_named(made_up, tmp_path_factory):
    assert len(course.trained(str(made_up))) == 3 and course.load("ks", "ONE", root=str(made_up)) is not None
    with pytest.raises(LookupError, match="trained: there are no weights in .*; train them: python -m"):
        course.trained(tmp_path_factory.mktemp("empty"))
