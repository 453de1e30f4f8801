"""`tapetum-train evaluate`: how good a colorizer or a recognizer is, a checkpoint's or a bundle's, on files."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from edge.arguments import number, whole
from edge.bundles.bundle import PrecisionChoice
from edge.errors import ConfigError, InputError
from edge.media import listed, quieten_opencv
from edge.types import Float32Array, UInt8Array
from edge.vision.scene import ColourNetworks
from training.data.images import find_images
from training.judging.candidates import Identity, Source
from training.judging.judge import (
    ColourReport,
    DetectionReport,
    Subject,
    judge_colours,
    judge_detector,
    nir_pairs,
    photographs,
)
from training.judging.video import judge_video
from training.metrics.confusion import Confusion
from training.metrics.detection import LabelScores
from training.metrics.truth import read_truth
from training.outputs import check_pictures, check_writable, write_json
from training.provenance import circumstances

SHEET_SAMPLES = 12  # of the photographs, and of the pairs
PACKAGES = ("numpy", "opencv-python-headless", "openvino", "scikit-image", "faster-coco-eval")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evaluate colorizer` and `evaluate recognizer`."""
    evaluate = commands.add_parser("evaluate", help="measure a colorizer or a recognizer")
    networks = evaluate.add_subparsers(required=True, metavar="NETWORK")
    _add_colorizer(networks.add_parser("colorizer", help="colours beside the truth, flicker of a video"))
    _add_recognizer(networks.add_parser("recognizer", help="boxes beside COCO annotations"))


def _add_colorizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, help="colour photographs: a folder, or a text file of paths")
    parser.add_argument(
        "--pairs", type=Path, help="folder of real pairs X_nir.*, X_rgb.*: NIR goes in, RGB is the truth"
    )
    parser.add_argument("--video", type=Path, help="video whose colours should not flicker")
    parser.add_argument("--frames", type=whole(1), help="of the video, from the first; default: all")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="picture of inputs, results and truths")
    parser.add_argument("--context-weights", type=Path, help="file, where a checkpoint's context network needs one")
    _common(parser)
    parser.set_defaults(run=evaluate_colorizer)


def _add_recognizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--coco", type=Path, required=True, help="annotations (JSON)")
    parser.add_argument("--images", type=Path, required=True, help="folder of their images")
    parser.add_argument("--only", type=Path, help="text file of the images to judge: a name or path a line")
    parser.add_argument("--boxed-only", action="store_true", help="leave out images in which people boxed nothing")
    parser.add_argument("--confusion", type=Path, metavar="PNG", help="picture of the confusion matrix")
    parser.add_argument("--curves", type=Path, metavar="PNG", help="picture of the precision-recall curves")
    parser.add_argument("--min-score", type=number(0, 1), default=0.5, help="from which the confusion matrix counts")
    _common(parser)
    parser.set_defaults(run=evaluate_recognizer, context_weights=None)


def _common(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="RUN", help="run folder of a training")
    model.add_argument("--bundle", type=Path, help="model bundle, run as the service runs it")
    parser.add_argument("--precision", choices=get_args(PrecisionChoice), help="of the bundle's networks")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="file for the results")


def evaluate_colorizer(options: argparse.Namespace) -> None:
    """Write what a colorizer scores on photographs, on NIR pairs and in a video."""
    if not (options.images or options.pairs or options.video):
        raise ConfigError("nothing to colour: give --images, --pairs or --video")
    if options.sheet and not (options.images or options.pairs):
        raise ConfigError("--sheet shows photographs or pairs: give --images or --pairs")
    check_writable(options.out)
    check_pictures(options.sheet)
    quieten_opencv()
    subjects = _subjects(options)
    with _source(options).colorizer() as (networks, identity):
        reports = {what: _judge(networks, them, options) for what, them in subjects.items()}
        results = {what: _colour_results(report) for what, report in reports.items()}
        if options.video:
            flicker = asdict(judge_video(networks, options.video, frames=options.frames))
            results["video"] = {"file": options.video.name, **flicker}
    _write(options, identity, results)
    for line in _colour_lines(results):
        print(line)
    if options.sheet:
        from training.judging.plots import colour_sheet, save_figure  # slow to import, and not always wanted

        save_figure(colour_sheet([sample for report in reports.values() for sample in report.samples]), options.sheet)


def evaluate_recognizer(options: argparse.Namespace) -> None:
    """Write what a recognizer scores beside annotations."""
    check_writable(options.out)
    check_pictures(options.confusion, options.curves)
    quieten_opencv()
    truth = read_truth(options.coco)
    if not options.images.is_dir():
        raise InputError(f"{options.images}: no such folder")
    if options.only:
        truth = truth.only({Path(line.strip()).name for line in listed(options.only)})
    if options.boxed_only:
        truth = truth.boxed()
    with _source(options).recognizer() as (network, identity):
        report = judge_detector(network.detect, network.labels, truth, options.images, min_score=options.min_score)
    _write(options, identity, _detection_results(report))
    print(f"{report.images} images judged, {len(report.skipped)} skipped")
    for name, means in {"all labels": report.mean, **report.supercategories}.items():
        print(f"{name}: " + ", ".join(f"{measure} {value:.3f}" for measure, value in means.items()))
    _draw(options, report)


def _source(options: argparse.Namespace) -> Source:
    return Source(options.checkpoint, options.bundle, options.precision, options.context_weights)


def _subjects(options: argparse.Namespace) -> dict[str, list[Subject]]:
    subjects = {}
    if options.images:
        subjects["images"] = photographs(find_images(options.images))
    if options.pairs:
        subjects["pairs"] = nir_pairs(options.pairs)
    return subjects


def _judge(networks: ColourNetworks, subjects: list[Subject], options: argparse.Namespace) -> ColourReport:
    def colorize(luma: UInt8Array) -> Float32Array:
        return networks.colour(luma, networks.context(luma))

    return judge_colours(colorize, subjects, samples=SHEET_SAMPLES if options.sheet else 0)


def _write(options: argparse.Namespace, identity: Identity, results: dict[str, Any]) -> None:
    packages = (*PACKAGES, "torch") if options.checkpoint else PACKAGES
    write_json(options.out, circumstances(options.arguments, *packages) | {"model": identity} | results)


def _colour_results(report: ColourReport) -> dict[str, Any]:
    rows = [{"file": file, **scores} for file, scores in report.rows]
    return {"count": len(rows), "skipped": report.skipped, "mean": report.mean, "rows": rows}


def _colour_lines(results: dict[str, Any]) -> list[str]:
    lines = []
    for what in [what for what in ("images", "pairs") if what in results]:
        mean = results[what]["mean"]
        lines.append(f"{what}: {results[what]['count']} judged, {len(results[what]['skipped'])} skipped")
        for name in ("psnr_db", "ciede2000", "mssim"):
            lines.append(f"  {name} {mean[name]:.3f}, grey copy {mean[f'grey_{name}']:.3f}")
        lines.append(f"  colourfulness {mean['colourfulness']:.1f}, truth {mean['truth_colourfulness']:.1f}")
    if video := results.get("video"):
        lines.append(f"video: {video['frames']} frames")
        for name in ("grey", "raw", "shown"):
            lines.append(
                f"  {name}: " + ", ".join(f"{measure} {value:.6f}" for measure, value in video[name].items())
            )
    return lines


def _detection_results(report: DetectionReport) -> dict[str, Any]:
    matrix: Confusion = report.confusion
    return {
        "count": report.images,
        "skipped": report.skipped,
        "unknown_labels": report.unknown,
        "mean": report.mean,
        "supercategories": report.supercategories,
        "labels": {label: _label_results(scores) for label, scores in report.labels.items()},
        "confusion": asdict(matrix) | {"counts": matrix.counts.tolist()},
    }


def _label_results(scores: LabelScores) -> dict[str, Any]:
    return asdict(scores) | {"precision": scores.precision.tolist(), "thresholds": scores.thresholds.tolist()}


def _draw(options: argparse.Namespace, report: DetectionReport) -> None:
    if not (options.confusion or options.curves):
        return
    from training.judging.plots import (  # slow to import, and not always wanted
        confusion_figure,
        curves_figure,
        save_figure,
    )

    if options.confusion:
        save_figure(confusion_figure(report.confusion), options.confusion)
    if options.curves:
        save_figure(curves_figure(report.labels), options.curves)
