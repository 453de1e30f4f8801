"""Metrics against published values and cases whose answer is known."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from edge.errors import InputError
from edge.types import Detections, UInt8Array
from training.metrics.colour import colour_metrics, colourfulness, mean_of
from training.metrics.confusion import confusion
from training.metrics.detection import LabelScores, by_supercategory, mean_scores, score_labels
from training.metrics.flicker import MIN_FRAMES, Flicker, colour_histograms, divergence, motion_between, warp_error
from training.metrics.truth import TrueImage, Truth

LABELS = ("person", "cat", "dog")  # of the detector
GROUPS = {"cat": "animal", "dog": "animal", "person": "person"}
CAT, FAR = (40.0, 30.0, 120.0, 90.0), (0.0, 0.0, 20.0, 20.0)


def noise(*shape: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# Colour


def test_equal_images_are_equal() -> None:
    metrics = colour_metrics(noise(64, 64, 3), noise(64, 64, 3))
    assert metrics["mssim"] == 1 and metrics["ciede2000"] == 0
    assert metrics["psnr_db"] == pytest.approx(138.13, abs=0.01)


def test_psnr_of_a_known_error() -> None:
    truth = np.full((32, 32, 3), 100, np.uint8)
    assert colour_metrics(truth + np.uint8(10), truth)["psnr_db"] == pytest.approx(20 * np.log10(25.5), abs=1e-6)


def test_mssim_of_flat_images_is_the_luminance_term() -> None:
    one, other = (np.full((32, 32, 3), value, np.uint8) for value in (100, 150))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert colour_metrics(one, other)["mssim"] == pytest.approx(expected, abs=1e-6)


def test_noise_costs_structure_more_than_brightness_does() -> None:
    truth = np.repeat(np.repeat(noise(16, 16, 3), 16, 0), 16, 1) // 2 + np.uint8(64)
    brighter, noisy = truth + np.uint8(20), truth + noise(256, 256, 3) // np.uint8(4)
    assert colour_metrics(brighter, truth)["mssim"] > 0.9 > colour_metrics(noisy, truth)["mssim"]


def test_ciede2000_of_known_colours() -> None:
    # sRGB red and green: CIEDE2000 86.61 (D65)
    red, green = np.zeros((2, 32, 32, 3), np.uint8)
    red[..., 0] = green[..., 1] = 255
    assert colour_metrics(red, green)["ciede2000"] == pytest.approx(86.61, abs=0.02)


def test_grey_has_no_colourfulness_and_saturated_colours_have_much() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert colourfulness(ramp) == 0
    vivid = np.zeros((2, 2, 3), np.uint8)
    vivid[0], vivid[1] = (255, 0, 0), (0, 0, 255)
    assert colourfulness(vivid) > 100


def test_means_are_over_images() -> None:
    assert mean_of([{"psnr_db": 20.0}, {"psnr_db": 30.0}]) == {"psnr_db": 25.0}


# Flicker


def texture(shift: int = 0) -> UInt8Array:
    """Smooth blobs, 96x128, moved to the left."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:96, : 128 + 64]
    image = np.full(x.shape, 100.0)
    for _ in range(60):
        centre_x, centre_y, size = rng.uniform(0, 192), rng.uniform(0, 96), rng.uniform(4, 10)
        image += rng.uniform(-60, 60) * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * size**2))
    return image.clip(0, 255)[:, shift : shift + 128].astype(np.uint8)


def tinted(luma: UInt8Array, red: int) -> UInt8Array:
    image = np.repeat(luma[..., None], 3, axis=2).astype(np.int16)
    image[..., 0] += red
    return image.clip(0, 255).astype(np.uint8)


def flicker_of(lumas: list[UInt8Array], reds: list[int]) -> dict[str, float]:
    flicker = Flicker()
    for i, (luma, red) in enumerate(zip(lumas, reds, strict=True)):
        flicker.add(tinted(luma, red), motion_between(lumas[i - 1], luma) if i else None)
    return flicker.scores()


def test_a_still_video_of_one_colour_does_not_flicker() -> None:
    assert flicker_of([texture()] * 6, [20] * 6) == {"cdc": 0, "warp_error": 0}


def test_a_flickering_video_scores_worse_than_a_steady_one() -> None:
    steady = flicker_of([texture(2 * i) for i in range(6)], [20] * 6)
    flickering = flicker_of([texture(2 * i) for i in range(6)], [20, 50] * 3)
    assert flickering["cdc"] > 5 * steady["cdc"]
    assert flickering["warp_error"] > 20 * steady["warp_error"]
    assert flickering["warp_error"] == pytest.approx((30 / 255) ** 2 / 3, rel=0.1)


def test_motion_alone_costs_little_because_the_flow_takes_it_back() -> None:
    before, after = texture(), texture(4)
    motion = motion_between(before, after)
    assert np.median(motion.flow[..., 0]) == pytest.approx(-4, abs=0.1)
    error = warp_error(tinted(before, 0), tinted(after, 0), motion)
    assert error is not None
    unaligned = float(np.mean((before / 255.0 - after / 255.0) ** 2))
    assert error < 0.02 * unaligned


def test_what_leaves_the_frame_is_occluded() -> None:
    motion = motion_between(texture(), texture(8))
    assert not motion.visible[:, :6].any()
    assert motion.visible[20:-20, 20:-20].mean() > 0.95


def test_divergence_of_known_distributions() -> None:
    black, white = (colour_histograms(np.full((4, 4, 3), value, np.uint8)) for value in (0, 255))
    assert divergence(black, white) == pytest.approx(np.log(2))
    assert divergence(black, black) == 0
    half = (black + white) / 2
    assert divergence(black, half) == pytest.approx(1.5 * np.log(2) - 0.75 * np.log(3))


def test_cdc_looks_one_two_and_four_frames_back() -> None:
    """Red that alternates in pairs differs over 2 frames always, over 4 never, over 1 every other time."""
    flicker = Flicker()
    for red in [0, 0, 255, 255] * 3:
        flicker.add(np.dstack([np.full((4, 4), red, np.uint8), *np.zeros((2, 4, 4), np.uint8)]), None)
    share_over_1 = 5 / 11
    assert flicker.scores()["cdc"] == pytest.approx((share_over_1 + 1 + 0) / 3 * np.log(2) / 3)


def test_flicker_needs_a_few_frames() -> None:
    flicker = Flicker()
    for _ in range(MIN_FRAMES - 1):
        flicker.add(np.zeros((4, 4, 3), np.uint8), None)
    with pytest.raises(ValueError, match="5 frames"):
        flicker.scores()


# Detection


def image(
    *boxes: tuple[str, tuple[float, ...]], labelled: tuple[str, ...] = LABELS, crowd: bool = False
) -> TrueImage:
    coordinates = np.array([box for _, box in boxes], np.float32).reshape(-1, 4)
    names = tuple(name for name, _ in boxes)
    return TrueImage("x.jpg", coordinates, names, np.full(len(boxes), crowd), frozenset(labelled))


def answers(*found: tuple[str, tuple[float, ...], float]) -> Detections:
    boxes = np.array([box for _, box, _ in found], np.float32).reshape(-1, 4)
    labels = np.array([LABELS.index(label) for label, _, _ in found], np.int64)
    return Detections(boxes, labels, np.array([score for *_, score in found], np.float32))


def scores_of(images: list[TrueImage], found: list[Detections]) -> dict[str, LabelScores]:
    return score_labels(Truth(tuple(images), GROUPS), found, LABELS)


def test_a_perfect_detector_scores_one() -> None:
    found = [answers(("cat", CAT, 0.9)), answers(("dog", CAT, 0.8), ("dog", FAR, 0.7))]
    scores = scores_of([image(("cat", CAT)), image(("dog", CAT), ("dog", FAR))], found)
    assert set(scores) == {"cat", "dog"}, "no person is there to be judged"
    for score in scores.values():
        assert (score.ap, score.ap50, score.recall, score.recall50) == pytest.approx((1, 1, 1, 1))
        assert score.precision == pytest.approx(np.ones(101))
    assert (scores["dog"].images, scores["dog"].boxes) == (2, 2)
    assert scores["dog"].thresholds[[0, 100]] == pytest.approx([0.8, 0.7])


def test_the_evaluation_prints_and_logs_nothing(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        scores_of([image(("cat", CAT))], [answers(("cat", CAT, 0.9))])
    assert capsys.readouterr().out == "" and caplog.text == ""


def test_wrong_and_no_answers_score_zero() -> None:
    assert scores_of([image(("cat", CAT))], [answers(("cat", FAR, 0.9))])["cat"].ap50 == 0
    assert scores_of([image(("cat", CAT))], [Detections.empty()])["cat"].recall == 0


def test_half_of_the_objects_found() -> None:
    score = scores_of([image(("cat", CAT), ("cat", FAR))], [answers(("cat", CAT, 0.9))])["cat"]
    assert score.ap50 == pytest.approx(51 / 101)  # recall 0, 0.01 .. 0.5
    assert score.recall50 == 0.5
    assert score.thresholds[100] == 0


def test_a_loose_box_counts_at_low_overlap_alone() -> None:
    loose = (40.0, 30.0, 120.0, 79.2)  # IoU 0.82
    score = scores_of([image(("cat", CAT))], [answers(("cat", loose, 0.9))])["cat"]
    assert score.ap50 == pytest.approx(1)
    assert score.ap == score.recall == pytest.approx(0.7, abs=0.01)  # of 0.5 .. 0.95, those up to 0.8


def test_a_false_positive_costs_only_where_its_label_is_labelled() -> None:
    right, wrong = answers(("cat", CAT, 0.5)), answers(("cat", FAR, 0.9))
    silent = [image(("cat", CAT)), image(("dog", CAT), labelled=("dog",))]
    assert scores_of(silent, [right, wrong])["cat"].ap50 == pytest.approx(1)
    assert scores_of(silent, [right, wrong])["cat"].images == 1
    judging = [image(("cat", CAT)), image(("dog", CAT), labelled=("dog", "cat"))]
    assert scores_of(judging, [right, wrong])["cat"].ap50 == pytest.approx(0.5)


def test_objects_of_a_label_that_is_not_labelled_do_not_count() -> None:
    assert "dog" not in scores_of([image(("dog", CAT), labelled=("cat",))], [answers(("dog", CAT, 0.9))])


def test_images_in_which_nothing_is_boxed_can_be_left_out() -> None:
    truth = Truth((image(("cat", CAT)), image(labelled=("cat",))), GROUPS)
    found = [answers(("cat", CAT, 0.5)), answers(("cat", FAR, 0.9))]  # whom the people who boxed passed over
    assert score_labels(truth, found, LABELS)["cat"].ap50 == pytest.approx(0.5)
    assert truth.boxed().images == truth.images[:1]
    assert score_labels(truth.boxed(), found[:1], LABELS)["cat"].ap50 == pytest.approx(1)
    with pytest.raises(InputError, match="people boxed nothing"):
        Truth((image(),), GROUPS).boxed()


def test_finding_a_crowd_is_neither_right_nor_wrong() -> None:
    images = [image(("cat", CAT)), image(("cat", (0, 0, 160, 120)), crowd=True)]
    score = scores_of(images, [answers(("cat", CAT, 0.5)), answers(("cat", FAR, 0.9))])["cat"]
    assert score.ap50 == pytest.approx(1) and score.boxes == 1


def test_a_label_of_which_there_are_crowds_alone_has_no_score() -> None:
    images = [image(("cat", CAT)), image(("dog", CAT), crowd=True)]
    assert scores_of(images, [answers(("cat", CAT, 0.9)), answers(("dog", CAT, 0.9))]).keys() == {"cat"}


def test_supercategories_are_means_over_their_labels() -> None:
    images = [image(("cat", CAT)), image(("dog", CAT)), image(("person", CAT))]
    found = [answers(("cat", CAT, 0.9)), Detections.empty(), answers(("person", CAT, 0.9))]
    scores = scores_of(images, found)
    groups = by_supercategory(scores, Truth(tuple(images), GROUPS))
    assert groups["animal"]["ap50"] == pytest.approx(0.5) and groups["person"]["ap50"] == pytest.approx(1)
    assert mean_scores(scores.values())["ap50"] == pytest.approx(2 / 3)
    without = by_supercategory(scores, Truth(tuple(images), dict.fromkeys(GROUPS, "")))
    assert without == {}


# Confusion: rows truth, columns detections, person, cat, dog, background


def counts_of(images: list[TrueImage], found: list[Detections], min_score: float = 0.5) -> list[list[int]]:
    truth = Truth(tuple(images), GROUPS)
    counts: list[list[int]] = confusion(truth, found, LABELS, LABELS, min_score=min_score).counts.tolist()
    return counts


def test_confusion_counts_hits_mix_ups_misses_and_inventions() -> None:
    images = [
        image(("cat", CAT), ("person", FAR)),
        image(("dog", CAT)),
        image(("dog", CAT)),
    ]
    found = [
        answers(("cat", CAT, 0.9), ("dog", (100, 100, 140, 118), 0.8), ("person", FAR, 0.4)),
        answers(("cat", CAT, 0.9)),
        answers(("dog", CAT, 0.9)),
    ]
    assert counts_of(images, found) == [
        [0, 0, 0, 1],  # the person's score is too low
        [0, 1, 0, 0],
        [0, 1, 1, 0],  # one dog taken for a cat
        [0, 0, 1, 0],  # a dog where nothing is
    ]
    assert counts_of(images, found, min_score=0.3)[0] == [1, 0, 0, 0]


def test_the_right_label_has_an_object_before_a_surer_wrong_one() -> None:
    counts = counts_of([image(("dog", CAT))], [answers(("cat", CAT, 0.9), ("dog", CAT, 0.6))])
    assert counts == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]


def test_two_detections_of_one_object_are_a_hit_and_an_invention() -> None:
    counts = counts_of([image(("dog", CAT))], [answers(("dog", CAT, 0.9), ("dog", CAT, 0.6))])
    assert counts[2] == [0, 0, 1, 0] and counts[3] == [0, 0, 1, 0]


def test_confusion_says_nothing_of_labels_that_are_not_labelled() -> None:
    images = [image(("cat", CAT), ("person", FAR), labelled=("cat",))]
    found = [answers(("dog", FAR, 0.9), ("person", FAR, 0.9))]
    assert counts_of(images, found) == [[0] * 4, [0, 0, 0, 1], [0] * 4, [0] * 4]


def test_a_detection_in_a_crowd_is_no_invention() -> None:
    assert not np.any(counts_of([image(("cat", (0, 0, 160, 120)), crowd=True)], [answers(("cat", FAR, 0.9))]))


def test_confusion_of_images_without_any_object_or_detection() -> None:
    assert not np.any(counts_of([image()], [Detections.empty()]))
    assert counts_of([image()], [answers(("cat", CAT, 0.9))])[3] == [0, 1, 0, 0]


def test_labels_that_are_not_judged_are_left_out_of_the_matrix() -> None:
    truth = Truth((image(("cat", CAT)),), {"cat": "animal"})
    matrix = confusion(truth, [answers(("person", CAT, 0.9), ("cat", CAT, 0.8))], LABELS, ["cat"])
    assert matrix.labels == ("cat",) and matrix.counts.tolist() == [[1, 0], [0, 0]]
