"""`culling models`: look at the registry, move the champion pointer, tidy up."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import PATH, Group, json_option
from dataset_culling.cli.complete import DEFAULT_REGISTRY, camera_names
from dataset_culling.errors import ConfigError
from dataset_culling.registry.models import KeepRule, Registry, champion_stack, open_registry
from dataset_culling.registry.nights import Nights

KEEP = KeepRule()
HEADLINE = ("map_50_raw", "map_50_trained", "map_50_95_trained", "map_50_trained_truth")
"""Figures that a list shows, where a version has them."""


@click.group(cls=Group)
@click.option(
    "--registry", envvar="CULLING_REGISTRY", default=DEFAULT_REGISTRY, show_default=True,
    help="Folder or s3:// prefix of the registry; also CULLING_REGISTRY.",
)  # fmt: skip
@click.pass_context
def models(context: click.Context, registry: str) -> None:
    """The cameras' models: list, show, compare, export, promote, roll back, tidy up.

    \b
    culling models --registry s3://fleet/registry list
    culling models list demo
    culling models promote demo 7
    culling models rollback demo --reason "it misses dogs"
    """
    context.obj = open_registry(registry)


@models.command("list")
@click.argument("camera", default="", shell_complete=camera_names)
@json_option
@click.pass_obj
def list_command(registry: Registry, camera: str, as_json: bool) -> None:
    """All cameras with their champions, or all versions of one CAMERA.

    \b
    culling models list
    culling models --registry s3://fleet/registry list demo --json
    """
    if camera:
        versions, champion = registry.versions(camera), registry.champion(camera).version
        if not versions:
            raise _no_camera(registry, camera)
        if as_json:
            click.echo(json.dumps([{**asdict(each), "champion": each.version == champion} for each in versions]))
            return
        for each in versions:
            mark = "*" if each.version == champion else " "
            figures = "  ".join(f"{name} {each.metrics[name]:.3f}" for name in HEADLINE if name in each.metrics)
            click.echo(f"{mark}{each.version:>4}  {each.published_utc}  {figures}".rstrip())
        return
    rows = [
        {"camera": name, "champion": now.version, "moved_utc": now.move.moved_utc if now.move is not None else ""}
        for name, now in ((name, registry.champion(name)) for name in registry.cameras())
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        at = f"version {row['champion']} since {row['moved_utc']}" if row["champion"] else "no champion"
        click.echo(f"{row['camera']}  {at}")


@models.command()
@click.argument("camera", shell_complete=camera_names)
@click.argument("version", type=click.IntRange(0), default=0)
@json_option
@click.pass_obj
def show(registry: Registry, camera: str, version: int, as_json: bool) -> None:
    """One VERSION whole (the champion if none is named), with how it came to be it.

    \b
    culling models show demo
    culling models show demo 3 --json
    """
    number = version or registry.champion(camera).version
    if not number:
        raise _no_camera(registry, camera)
    found = registry.version(camera, number)
    history, uri = registry.history(camera), registry.model_uri(camera, number)
    if as_json:
        click.echo(json.dumps({**asdict(found), "uri": uri, "history": [asdict(move) for move in history]}))
        return
    click.echo(f"camera {camera}, version {number}, published {found.published_utc}")
    click.echo(f"model   {uri}  (digest {found.model_digest[:12]})")
    made = found.provenance
    click.echo(f"made of {_digests(made.footage)}; labels {_digests(made.labels)}; parent {made.parent or 'none'}")
    click.echo(f"code    {made.code_version or 'unknown'}; image {made.image or 'none'}")
    for name, value in sorted(found.metrics.items()):
        click.echo(f"  {name:34} {value:.4f}")
    for move in history:
        click.echo(f"{move.moved_utc}  {move.kind} {move.previous or 'none'} -> {move.version}: {move.reason}")


@models.command()
@click.argument("camera", shell_complete=camera_names)
@click.argument("first", type=click.IntRange(1))
@click.argument("second", type=click.IntRange(1))
@json_option
@click.pass_obj
def compare(registry: Registry, camera: str, first: int, second: int, as_json: bool) -> None:
    """Two versions' figures side by side; it says whether they were measured on the same frames.

    \b
    culling models compare demo 3 4
    """
    one, two = registry.version(camera, first), registry.version(camera, second)
    labels = [each.provenance.labels.get("heldout", "") for each in (one, two)]
    same = bool(labels[0]) and labels[0] == labels[1]
    names = sorted(set(one.metrics) & set(two.metrics))
    if as_json:
        rows = {name: [one.metrics[name], two.metrics[name]] for name in names}
        click.echo(json.dumps({"same_heldout_frames": same, "metrics": rows}))
        return
    click.echo(f"{'':34} {first:>8} {second:>8}  change")
    for name in names:
        change = two.metrics[name] - one.metrics[name]
        click.echo(f"{name:34} {one.metrics[name]:8.4f} {two.metrics[name]:8.4f} {change:+8.4f}")
    click.echo("measured on the same held-out frames" if same else "measured on different frames: no fair comparison")


@models.command()
@click.argument("camera", default="", shell_complete=camera_names)
@click.argument("version", type=click.IntRange(0), default=0)
@click.option("--to", required=True, type=PATH, help="The bundle's folder; an older one is replaced.")
@click.option("--model", type=PATH, help="A model/1 directory instead of CAMERA.")
@click.option("--frame-size", default="", metavar="WxH", help="Of the camera's frames. [default: as evaluated]")
@click.option("--json", "as_json", is_flag=True, help="For machines: the bundle's card.")
@click.pass_obj
def export(
    registry: Registry, camera: str, version: int, to: Path, model: Path | None, frame_size: str, as_json: bool
) -> None:
    """Write a bundle for other programs: VERSION of CAMERA (the champion if none is named) as ONNX, and bundle.json.

    \b
    culling models export demo --to bundles/demo
    culling models --registry s3://fleet/registry export gate 3 --to bundles/gate
    culling models export --model runs/demo/model --to bundles/demo --frame-size 1280x720
    """
    from dataset_culling.serving.bundle import export_model, model_in_folder, parse_size, registered_model

    if bool(camera) == (model is not None):
        raise ConfigError(
            "models export: expected either CAMERA or --model DIR, found both or neither. Name one of them."
        )
    size = parse_size(frame_size)
    source = registered_model(registry, camera, version) if model is None else nullcontext(model_in_folder(model))
    with source as found:
        spec, thresholds = export_model(found, to, size)
    if as_json:
        click.echo(json.dumps(spec.model_dump(mode="json")))
        return
    click.echo(f"{to}: {spec.name}, for frames of {spec.frame_width_px}x{spec.frame_height_px} px")
    click.echo(f"thresholds: {', '.join(f'{name} {score:.2f}' for name, score in spec.score_thresholds.items())}")
    if note := thresholds.note():
        click.echo(f"note: {note}")


@models.command()
@click.argument("camera", shell_complete=camera_names)
@click.argument("version", type=click.IntRange(1))
@click.option("--reason", default="approved by hand", show_default=True, help="Reason, for the history.")
@click.pass_obj
def promote(registry: Registry, camera: str, version: int, reason: str) -> None:
    """Make VERSION the camera's champion, at once.

    \b
    culling models promote demo 4 --reason "approved by the site"
    """
    before = registry.champion(camera).version
    registry.promote(camera, version, expected=before, reason=reason)
    click.echo(f"{camera}: version {version} is the champion; it was {before or 'none'}")


@models.command()
@click.argument("camera", shell_complete=camera_names)
@click.option("--to", default=0, type=click.IntRange(0), help="The version; 0: the champion before this one.")
@click.option("--reason", default="rolled back by hand", show_default=True, help="Reason, for the history.")
@click.pass_obj
def rollback(registry: Registry, camera: str, to: int, reason: str) -> None:
    """Make an earlier champion the champion again, at once; what was rolled back is not promoted again by itself.

    \b
    culling models rollback demo
    culling models rollback demo --to 2 --reason "it misses dogs"
    """
    before = registry.champion(camera).version
    now = registry.rollback(camera, reason=reason, to=to)
    click.echo(f"{camera}: version {now.version} is the champion again; it was {before}")


@models.command()
@click.argument("camera", default="", shell_complete=camera_names)
@click.option("--newest", default=KEEP.newest, show_default=True, type=click.IntRange(1), help="Versions kept.")
@click.option(
    "--champions", default=KEEP.champions, show_default=True, type=click.IntRange(1),
    help="Champions kept that rolling back leads to, the present one included.",
)  # fmt: skip
@click.option(
    "--younger-than-days", default=KEEP.younger_than_s / 86400, show_default=True, type=click.FloatRange(0),
    help="Versions younger than this stay.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@click.pass_obj
def gc(registry: Registry, camera: str, newest: int, champions: int, younger_than_days: float, dry_run: bool) -> None:
    """Remove unused versions, of one CAMERA or of all; champions, rollback targets and ancestors stay.

    \b
    culling models gc --dry-run
    culling models gc demo --newest 5
    """
    rule = KeepRule(newest=newest, champions=champions, younger_than_s=younger_than_days * 86400)
    would = "would remove" if dry_run else "removed"
    for name in [camera] if camera else registry.cameras():
        gone = registry.gc(name, rule, dry_run=dry_run)
        listed = ", ".join(map(str, gone.versions)) or "none"
        back = ", ".join(map(str, champion_stack(registry.history(name))[-champions:])) or "none"
        click.echo(f"{name}: {would} versions {listed}; {len(gone.unfinished)} unfinished; way back: {back}")


@models.command("check-set")
@click.argument("camera")
@click.argument("labels", type=PATH, required=False)
@click.option("--images", type=PATH, help="Folder of the images that LABELS names.")
@click.option("--remove", is_flag=True, help="The camera has no check set any more.")
@click.pass_obj
def check_set(registry: Registry, camera: str, labels: Path | None, images: Path | None, remove: bool) -> None:
    """Make images that a person labelled (LABELS) the CAMERA's check set; without LABELS, say what it is.

    LABELS is COCO json; culling propose writes a draft for an annotator to correct. The teacher, the champion and every
    candidate are judged on the set, and the promotion gate holds candidates to it.

    \b
    culling models check-set demo checked.json --images checked/
    culling models check-set demo proposals/labels.json --images proposals/images
    culling models check-set demo
    culling models check-set demo --remove
    """
    nights = Nights(registry)
    if remove:
        nights.drop_check(camera)
        click.echo(f"{camera}: has no check set any more")
        return
    if labels is not None:
        from dataset_culling.review.check_set import set_check

        set_check(registry, camera, labels, images or labels.parent)
    found = nights.check_set(camera)
    if found is None:
        click.echo(f"{camera}: no check set")
        return
    click.echo(f"{camera}: {len(found.heldout)} images of {', '.join(found.class_names)}, kept {found.kept_utc}")


@models.command("nights")
@click.argument("camera")
@click.option("--remove", default="", metavar="ID", help="Forget this night.")
@click.pass_obj
def nights_command(registry: Registry, camera: str, remove: str) -> None:
    """List what earlier nights left in the registry for a CAMERA: frames to train on again, frames to judge on.

    \b
    culling models nights demo
    culling models nights demo --remove 0123456789abcdef
    """
    nights = Nights(registry)
    known = nights.all(camera)
    if remove:
        if remove not in [night.id for night in known]:
            listed = ", ".join(night.id for night in known) or "none"
            raise ConfigError(f"--remove {remove}: expected one of the kept nights, found {listed}.")
        nights.remove(camera, remove)
        known = nights.all(camera)
    for night in known:
        click.echo(
            f"{night.id}  {night.date}  {len(night.train):>3} to train on  {len(night.heldout):>3} to judge on  "
            f"{', '.join(night.class_names)}"
        )
    if not known:
        click.echo(f"{camera}: no kept nights")


def _no_camera(registry: Registry, camera: str) -> ConfigError:
    known = ", ".join(registry.cameras()) or "none"
    return ConfigError(f"camera '{camera}': expected one with models in the registry, found {known}. Check --registry.")


def _digests(found: Any) -> str:
    return ", ".join(f"{name} {value[:12]}" for name, value in sorted(found.items())) or "unknown footage"
