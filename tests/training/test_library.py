"""The library's classes, the table that leads to them, and a fair draw."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundles.bundle import DEMO_BUNDLE, read_manifest
from edge.errors import ConfigError
from tests.training.photographs import write_photographs
from training.data.imagenet import imagenet_classes, indices_of
from training.data.labels import read_table
from training.data.library import of_index, of_label, read_library
from training.selecting.draw import Share, Sieve, apportion, draw
from training.selecting.sightings import Sighting


@pytest.mark.parametrize(("text", "message"), [
    ("", "no label in it"),
    ("labels = 3", "no label in it"),
    ("[lables]\ndog = []", "unknown key 'lables'"),
    ("[labels]\ndog = 151", "dog: give a list"),
    ("[labels]\ndog = [1000]", "1000 is not a name, an index"),
    ("[labels]\ndog = ['268-151']", "'268-151' is not"),
    ("[labels]\ndog = [1.5]", "1.5 is not"),
    ("[labels]\ndog = [true]", "True is not"),
    ("[labels", "not TOML"),
])  # fmt: skip
def test_a_wrong_table_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"table\.toml: .*{message}"):
        read_table(tmp_path / "table.toml")


def test_the_table_that_ships_covers_the_demo_bundle() -> None:
    table = read_table()
    assert set(table) == set(read_manifest(DEMO_BUNDLE).labels)
    assert all(meaning.indices for meaning in table.values())
    assert table["dog"].indices == frozenset(range(151, 269))
    # every name in it means something: a typing error would be a name alone
    assert {label: meaning.names - {label} for label, meaning in table.items()} == {
        label: {name for name in meaning.names - {label} if indices_of(name)} for label, meaning in table.items()
    }


def test_the_imagenet_classes_are_in_the_order_of_the_logits() -> None:
    classes = imagenet_classes()
    assert [each.index for each in classes] == list(range(1000))
    assert [each.synset for each in classes] == sorted({each.synset for each in classes})
    anchors = {0: "tench", 151: "Chihuahua", 281: "tabby", 340: "zebra", 385: "Indian elephant", 999: "toilet tissue"}
    assert {index: classes[index].names[0] for index in anchors} == anchors
    assert indices_of("German_Shepherd") == {235} and indices_of("n02085620") == {151}
    assert indices_of("crane") == {134, 517} and indices_of("no such thing") == frozenset()
    assert indices_of("polecat") == {358}  # also another name of the skunk


def test_library_folders_are_known_by_synset_name_label_or_names_file(tmp_path: Path) -> None:
    for name in ("n02085620", "golden_retriever", "dog", "head", "x17", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "names.txt").write_text("# ours\nx17 Siberian husky, sled dog\n\nx18\n")
    library, table = read_library(tmp_path, tmp_path / "names.txt"), read_table()

    def folders(label: str) -> list[str]:
        return [each.folder.name for each in of_label(library, label, table)]

    assert folders("dog") == ["dog", "golden_retriever", "n02085620", "x17"]
    assert folders("head") == ["head"]  # a promontory is another head
    assert folders("horse") == []
    by_index = {i: [each.folder.name for each in of_index(library, i, table)] for i in (151, 207, 250, 976)}
    assert by_index == {151: ["dog", "n02085620"], 207: ["dog", "golden_retriever"], 250: ["dog", "x17"], 976: []}


@settings(deadline=None)
@given(
    weights=st.lists(st.floats(0.001, 1), min_size=1, max_size=30),
    count=st.integers(0, 1000),
    assured=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_shares_are_exact_and_keep_their_floors(weights: list[float], count: int, assured: list[bool]) -> None:
    floors = [min(20, count // len(weights)) * sure for sure, _ in zip(assured, weights, strict=False)]
    shares = apportion(count, weights, floors)
    assert sum(shares) == count
    assert all(share >= floor for share, floor in zip(shares, floors, strict=True))
    plenty = [i for i, share in enumerate(shares) if share > floors[i]]
    assert all(shares[i] >= shares[j] - 1 for i in plenty for j in plenty if weights[i] >= weights[j])


def test_frequent_classes_do_not_take_all_and_what_one_lacks_goes_to_others(tmp_path: Path) -> None:
    for seed, (name, photographs) in enumerate({"often": 60, "seldom": 60, "few": 2}.items()):
        write_photographs(tmp_path / name, photographs, seed=seed)
    names = {"often": 1.0, "seldom": 0.0625, "few": 0.25}
    shares = [Share(seen(name, weight), [tmp_path / name]) for name, weight in names.items()]
    draw(shares, 35, Sieve())
    assert [share.wanted for share in shares] == [13, 11, 11]  # the floor of 11 lifts the others over 4 : 1 : 2
    assert [len(share.drawn) for share in shares][2] == 2
    assert sum(len(share.drawn) for share in shares) == 35
    assert len(shares[0].drawn) > len(shares[1].drawn) > 11
    assert shares[2].why() == "the library has 2" and "in place of others" in shares[0].why()


def test_what_a_class_draws_does_not_depend_on_the_others(tmp_path: Path) -> None:
    write_photographs(tmp_path / "a", 20)
    write_photographs(tmp_path / "b", 20, seed=1)
    alone, beside = Share(seen("a"), [tmp_path / "a"]), Share(seen("a"), [tmp_path / "a"])
    draw([alone], 5, Sieve(), seed=3)
    draw([beside, Share(seen("b"), [tmp_path / "b"])], 10, Sieve(), seed=3)
    assert alone.drawn == beside.drawn


def seen(name: str, weight: float = 1.0, frames: int = 10) -> Sighting:
    return Sighting("label", 0, name, frames, weight)
