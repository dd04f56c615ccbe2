"""skytutor.training.state: what is not whole, or not this run's, is never gone on from."""

import json
import random
import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_task import SignalledTask, schedule, small_model

from skytutor.files import CheckpointError
from skytutor.training import checkpoint, state
from skytutor.training.interrupt import Interrupted
from skytutor.training.loop import train

PLAN = schedule(epochs=2, save_every_s=1e9)
EDITS = 100  # of a state, and as many of a checkpoint and its card


pytestmark = pytest.mark.usefixtures("one_thread")


class StopsAt(SignalledTask):
    """Asks for a stop while step `at` runs, as Slurm would; 0 never does."""

    source = "embedded"

    def __init__(self, at=0):
        super().__init__(at, signum=signal.SIGTERM, count=128)


def run(folder, task, **options):
    return train(
        small_model(),
        task,
        schedule=PLAN,
        folder=folder,
        seed=3,
        recipe="small",
        progress=False,
        **options,
    )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Return the bytes of a state of step 6 of 8, the task, and what the whole run ends with."""
    torch.set_num_threads(1)
    task = StopsAt()
    folder = tmp_path_factory.mktemp("state")
    whole = run(folder / "whole", task)
    with pytest.raises(Interrupted) as caught:
        run(folder / "cut", StopsAt(6))
    assert caught.value.exit_status == 143
    return (folder / "cut" / "state.safetensors").read_bytes(), task, whole.best


def parts(path):
    """Tensors and metadata of a safetensors file, as they are."""
    with safe_open(path, framework="pt") as stream:
        names = stream.keys()
        return {name: stream.get_tensor(name) for name in names}, stream.metadata()


def places(value, place=()):
    """Every place in nested dicts and lists where a value stands."""
    yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*place, key))
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield from places(inner, (*place, key))


def edit_field(card, rng):
    """Change, or take out, one field anywhere in a card."""
    place = rng.choice([p for p in places(card) if p])
    inner = card
    for key in place[:-1]:
        inner = inner[key]
    old = inner[place[-1]]
    if rng.random() < 0.2:
        del inner[place[-1]]
        return f"{place} taken out"
    if isinstance(old, bool | str) or old is None:
        new = rng.choice([not old, "other", 1, None])
    elif isinstance(old, int | float):
        new = rng.choice([old + 1, old - 1, -old, old * 2, 10**6, float(old) + 0.5, str(old)])
    else:
        new = rng.choice([[], {}, "gone", 0])
    inner[place[-1]] = new
    return f"{place}: {old!r} to {new!r}"


def edit_bits(path, rng):
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    bit = rng.randrange(8)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {at} of {path.name}"


def edit_tensors(path, rng):
    """Take out, rename, add, cast, cut or change one tensor; the metadata stay."""
    tensors, metadata = parts(path)
    name = rng.choice(sorted(tensors))
    tensor = tensors.pop(name)
    how = rng.choice(["missing", "renamed", "cast", "cut", "changed", "doubled"])
    if how == "renamed":
        tensors[name + "x"] = tensor
    elif how == "cast":
        tensors[name] = tensor.double() if tensor.dtype != torch.float64 else tensor.float()
    elif how == "cut":
        tensors[name] = tensor.reshape(-1)[: max(1, tensor.numel() // 2)].clone()
    elif how == "changed":
        tensors[name] = tensor + 1
    elif how == "doubled":
        tensors |= {name: tensor, "again." + name: tensor.clone()}
    save_file(tensors, path, metadata=metadata)
    return f"{name} {how}"


def edit_card_inside(path, rng):
    tensors, metadata = parts(path)
    card = json.loads(metadata["skytutor"])
    words = edit_field(card, rng)
    save_file(tensors, path, metadata={"skytutor": json.dumps(card)})
    return words


def edit_card_beside(path, rng):
    card = json.loads(path.read_text())
    words = edit_field(card, rng)
    path.write_text(json.dumps(card))
    return words


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_no_single_edit_of_a_state_leads_to_another_result(stopped, tmp_path):
    """Bits, fields, tensors: each is refused, or the run ends with the weights it would have."""
    data, task, best = stopped
    rng = random.Random(17)
    refused = 0
    for k in range(EDITS):
        path = tmp_path / str(k) / "state.safetensors"
        path.parent.mkdir()
        path.write_bytes(data)
        words = [edit_bits, edit_tensors, edit_card_inside][k % 3](path, rng)
        try:
            found = run(path.parent, task, resume=True).best
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error), words
            continue
        assert same(found, best), f"accepted with another result: {words}"
    without = EDITS - refused
    print(f"{EDITS} edits of a state: {refused} refused, {without} without effect, 0 others")
    assert refused >= 0.9 * EDITS


def test_no_single_edit_of_a_checkpoint_leads_to_another_result(tmp_path):
    given = checkpoint.provenance(
        device="cpu", seed=4, profile="smoke", command="skytutor train mine"
    )
    given |= {
        "source": "embedded",
        "test": {"size": 400, "scores": {"accuracy": 0.5}},
        "history": [{"epoch": 1, "loss": 0.25}],
    }
    weights = {f"{k}.weight": torch.randn(5, 3).half() for k in range(4)}
    rng = random.Random(18)
    refused = 0
    for k in range(EDITS):
        folder = tmp_path / str(k)
        path = checkpoint.save_checkpoint(folder, "mine", weights, given)
        before = checkpoint.load_checkpoint(folder, "mine")
        if k % 2:
            words = [edit_bits, edit_card_beside][k // 2 % 2](path.with_suffix(".json"), rng)
        else:
            words = [edit_bits, edit_tensors, edit_card_inside][k // 2 % 3](path, rng)
        try:
            tensors, card = checkpoint.load_checkpoint(folder, "mine")
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error) and str(folder) in str(error), words
            continue
        assert same(tensors, before[0]) and card == before[1], (
            f"accepted with another result: {words}"
        )
    without = EDITS - refused
    print(f"{EDITS} edits of a checkpoint: {refused} refused, {without} without effect, 0 others")
    assert refused >= 0.9 * EDITS


def resealed(path, change):
    """Change groups and card, and seal them as if they had been saved so: other checks remain."""
    tensors, card = checkpoint.load_tensors(path)
    card.pop("sha256")
    change(tensors, card)
    state.save_state(path, tensors, card)


def to_the_end(tensors, card):
    card |= {"step": 8, "loss_sum": 0.0}


def steps_of(number):
    def change(tensors, card):
        for name in tensors:
            if name.startswith("optimizer.") and name.endswith(".step"):
                tensors[name] = torch.tensor(float(number))

    return change


def without(ending):
    def change(tensors, card):
        for name in [n for n in tensors if n.startswith("optimizer.") and n.endswith(ending)]:
            del tensors[name]

    return change


def card_with(**fields):
    return lambda tensors, card: card.update(fields)


def renamed(tensors, card):
    tensors["optimizer.0.99.exp_avg"] = tensors.pop("optimizer.0.0.exp_avg")


def other_group(tensors, card):
    tensors["moments.a"] = torch.zeros(2)


def flat(tensors, card):
    tensors["optimizer.0.0.exp_avg"] = tensors["optimizer.0.0.exp_avg"].flatten()


def best_taken_out(tensors, card):
    for name in [n for n in tensors if n.startswith("best.")]:
        del tensors[name]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (to_the_end, "history"),
        (card_with(step=9), "step is 9"),
        (card_with(step=-1), "step is -1"),
        (card_with(step=6.0), "step is 6.0"),
        (card_with(step=True), "step is True"),
        (card_with(step=None), "step is None"),
        (card_with(threads=0), "threads is 0"),
        (card_with(threads=None), "threads is None"),
        (card_with(threads=2.0), "threads is 2.0"),
        (card_with(loss_sum="2"), "loss_sum is '2'"),
        (card_with(seconds=None), "seconds is None"),
        (card_with(epoch_seconds=[]), "epoch_seconds is []"),
        (card_with(seconds=-5.0), "seconds is -5.0"),
        (card_with(step=4), "loss_sum"),
        (card_with(history=[]), "history"),
        (card_with(history=[{"epoch": 1, "accuracy": "0.5"}]), "row 1"),
        (card_with(history=[{"epoch": 2, "accuracy": 0.5}]), "row 1"),
        (card_with(history=[{"epoch": 1}]), "row 1"),
        (card_with(best_epoch=2), "best_epoch is 2"),
        (card_with(best_epoch=-1), "best_epoch is -1"),
        (card_with(key=None), "which run made it"),
        (without(""), "keeps 0 parameters"),
        (without("exp_avg_sq"), "not whole"),
        (without("0.exp_avg"), "not whole"),
        (renamed, "'0.99.exp_avg'"),
        (flat, "shape"),
        (steps_of(7), "not whole"),
        (steps_of(float("nan")), "not whole"),
        (other_group, "'moments.a'"),
        (best_taken_out, "best: "),
    ],
)
def test_a_sealed_state_whose_parts_do_not_belong_together_is_refused(
    stopped, tmp_path, change, words
):
    data, task, _ = stopped
    path = tmp_path / "state.safetensors"
    path.write_bytes(data)
    resealed(path, change)
    before = path.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        run(tmp_path, task, resume=True)
    assert words in str(caught.value) and "--overwrite" in str(caught.value), str(caught.value)
    assert path.read_bytes() == before, "what was refused is left as it was"


def test_a_run_goes_on_with_the_threads_it_began_with(stopped, tmp_path):
    """Whatever the profile chooses on the day it goes on: the sums must round alike."""
    data, task, best = stopped
    (tmp_path / "state.safetensors").write_bytes(data)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        resumed = run(tmp_path, task, resume=True)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(resumed.best[name], value) for name, value in best.items())


def test_a_state_without_a_seal_is_refused(stopped, tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(stopped[0])
    tensors, card = checkpoint.load_tensors(path)
    card.pop("sha256")
    checkpoint.save_tensors(path, tensors, card=card)
    with pytest.raises(CheckpointError, match="no SHA-256"):
        run(tmp_path, stopped[1], resume=True)


class Mnist(StopsAt):
    source = "mnist"


class Larger(StopsAt):
    source = "embedded"

    def __init__(self):
        super().__init__()
        self.size += 1


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        (Mnist, {}, "another data ('embedded' there, 'mnist' here)"),
        (Larger, {}, "another size (128 there, 129 here)"),
        (StopsAt, {"profile": "gpu"}, "another profile ('' there, 'gpu' here)"),
        (StopsAt, {"seed": 4}, "another seed (3 there, 4 here)"),
        (
            StopsAt,
            {"schedule": schedule(epochs=5, save_every_s=1e9)},
            "another schedule (epochs is 2 there, 5 here)",
        ),
    ],
)
def test_a_state_of_another_run_is_refused_by_name(stopped, tmp_path, task, options, words):
    (tmp_path / "state.safetensors").write_bytes(stopped[0])
    given = {"schedule": PLAN, "seed": 3, **options}
    with pytest.raises(CheckpointError) as caught:
        train(
            small_model(),
            task(),
            folder=tmp_path,
            recipe="small",
            resume=True,
            progress=False,
            **given,
        )
    assert words in str(caught.value), str(caught.value)


@pytest.mark.parametrize("package", ["skytutor", "torch"])
def test_a_state_of_another_version_is_refused_by_name(stopped, tmp_path, monkeypatch, package):
    (tmp_path / "state.safetensors").write_bytes(stopped[0])
    monkeypatch.setattr(package + ".__version__", "9.9.9")
    with pytest.raises(
        CheckpointError, match=rf"another versions \({package} is .* there, '9.9.9' here\)"
    ):
        run(tmp_path, stopped[1], resume=True)


def test_a_card_may_be_laid_out_anew(tmp_path):
    """Blanks and the order of fields say nothing; everything else does."""
    path = tmp_path / "a.json"
    checkpoint.write_card(path, {"a": 1, "b": [0.1, None]})
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items())), indent=7))
    assert checkpoint.read_card(path) == {"a": 1, "b": [0.1, None]}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
        '{"a": NaN}',
        "\udcff",
        "{}",
        '"a"',
        "",
    ],
    ids=[
        "opened deep",
        "nested deep",
        "nested",
        "NaN",
        "no UTF-8",
        "empty object",
        "a string",
        "nothing",
    ],
)
def test_a_card_of_any_kind_is_refused_in_a_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read_card(path)
    assert str(path) in str(caught.value)


def test_a_card_with_a_number_that_is_none_replaces_nothing(tmp_path):
    weights = {"a": torch.zeros(2)}
    path = checkpoint.save_checkpoint(tmp_path, "mine", weights, {"test": 1.0})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"test\.scores\.0 of the card of mine is nan"):
        checkpoint.save_checkpoint(
            tmp_path, "mine", {"a": torch.ones(2)}, {"test": {"scores": [float("nan")]}}
        )
    assert path.read_bytes() == before


def test_a_name_with_escape_codes_is_quoted(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_into(torch.nn.Linear(1, 1), {"\x1b[31mred": torch.zeros(1)})
    assert "\x1b" not in str(caught.value) and "x1b[31mred" in str(caught.value)
