"""Faces are found, cut out, restored and pasted as gfpgan and facexlib do it, and where they fail."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sr_kernel.weights import WeightsError

from ..outside import real_picture, require_face


@pytest.fixture(scope="module", autouse=True)
def extra() -> None:
    require_face()


def picture(name: str) -> NDArray[np.uint8]:
    import cv2

    return np.ascontiguousarray(cv2.imread(str(real_picture(name)))[:, :, ::-1])


@pytest.fixture(scope="module")
def small() -> Any:
    """A FaceRestorer of narrow seeded networks and the real small detector."""
    from ..face_files import small_restorer

    return small_restorer()


@pytest.fixture(scope="module")
def detector(small: Any) -> Any:
    return small._detector


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Weight files of the official shapes."""
    from ..face_files import save_seeded

    return save_seeded(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def upstream(seeded: Any) -> Any:
    from ..face_files import Upstream

    return Upstream(seeded)


FACES = {"Blake_Lively.jpg": 5, "10045.png": 1, "Lincoln.png": 1, "OST_009.png": 0}
"""that the small detector finds at a score of 0.9"""


@pytest.mark.parametrize("name", FACES)
def test_the_small_detector_finds_the_faces_of_real_pictures(detector: Any, name: str) -> None:
    assert len(detector.find(picture(name), score=0.9)) == FACES[name]


@pytest.mark.parametrize(("height", "width"), [(640, 448), (33, 517), (8, 8), (1, 3)])
def test_places_are_those_of_facexlib(detector: Any, height: int, width: int) -> None:
    from sr_kernel.faces.detect import _priors

    config = detector._network.cfg
    theirs = import_module("facexlib.detection.retinaface_utils").PriorBox(config, image_size=(height, width))
    np.testing.assert_array_equal(_priors(height, width, config["min_sizes"], config["steps"]), theirs.forward())


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3, 0.2])
def test_landmarks_are_those_of_upstreams_helper_and_small_faces_are_left(
    detector: Any, upstream: Any, scale: float
) -> None:
    import cv2

    rgb = cv2.resize(picture("Blake_Lively.jpg"), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    helper = upstream.gfpganer.face_helper
    helper.clean_all()
    helper.read_image(np.ascontiguousarray(rgb[:, :, ::-1]))
    helper.get_face_landmarks_5(eye_dist_threshold=5)
    found = detector.find(rgb)
    assert len(found) == len(helper.all_landmarks_5)
    for face, theirs in zip(found, helper.all_landmarks_5, strict=True):
        np.testing.assert_allclose(face.landmarks, theirs, atol=1e-3)


def test_faces_whose_eyes_are_too_near_are_left(detector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = picture("Blake_Lively.jpg")
    eyes = sorted(float(np.linalg.norm(np.subtract(*face.landmarks[:2]))) for face in detector.find(rgb))
    monkeypatch.setattr("sr_kernel.faces.detect.EYES_PX", eyes[2])
    assert len(detector.find(rgb)) == len(eyes) - 2


def test_the_most_central_face_is_upstreams(detector: Any, upstream: Any) -> None:
    rgb = picture("Blake_Lively.jpg")
    helper = upstream.gfpganer.face_helper
    helper.clean_all()
    helper.read_image(np.ascontiguousarray(rgb[:, :, ::-1]))
    helper.get_face_landmarks_5(only_center_face=True, eye_dist_threshold=5)
    (face,) = detector.find(rgb, only_center=True)
    np.testing.assert_allclose(face.landmarks, helper.all_landmarks_5[0], atol=1e-3)


@pytest.mark.timeout(900)
def test_a_face_is_cut_out_restored_and_pasted_as_gfpganer_does(seeded: Any, upstream: Any) -> None:
    """The whole path, on weights of the official shapes: crops and faces equal, the picture to one level."""
    import cv2

    from sr_kernel.faces.restorer import FaceRestorer, align_faces, paste_faces

    from ..face_files import bgr

    rgb = picture("Lincoln.png")
    background = cv2.resize(rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    ours = background.copy()
    restorer = FaceRestorer.load(seeded.files)
    aligned = align_faces(rgb, restorer.find(rgb))
    restored = restorer.restore([face.levels for face in aligned])
    paste_faces(ours, (160, 160), aligned, restored)
    crops, faces, theirs = upstream.enhance(bgr(rgb), bgr(background), 2)
    assert len(aligned) == len(crops) == 1
    np.testing.assert_array_equal(bgr(aligned[0].levels), crops[0])
    np.testing.assert_array_equal(bgr(restored[0].levels), faces[0])
    assert np.abs(bgr(ours).astype(int) - theirs.astype(int)).max() <= 1
    assert (ours != background).any(axis=2).mean() > 0.02


@pytest.mark.parametrize("scale", [1, 2, 2.5, 4] if os.environ.get("FARM_TEST_LONG") else [2.5])
def test_several_faces_are_pasted_as_facexlib_does(small: Any, upstream: Any, scale: float) -> None:
    """With faces that nobody restored, turned to their negatives: what is compared is the pasting."""
    import cv2

    from sr_kernel.faces.restorer import RestoredFace, align_faces, paste_faces

    from ..face_files import bgr

    rgb = picture("Blake_Lively.jpg")
    height, width = int(rgb.shape[0] * scale), int(rgb.shape[1] * scale)
    background = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
    aligned = align_faces(rgb, small.find(rgb))
    helper = upstream.gfpganer.face_helper
    helper.clean_all()
    helper.set_upscale_factor(scale)
    helper.face_parse, kept = small._parser._network, helper.face_parse
    try:
        helper.read_image(bgr(rgb))
        helper.get_face_landmarks_5(eye_dist_threshold=5)
        helper.align_warp_face()
        for face in helper.cropped_faces:
            helper.add_restored_face(255 - face)
        helper.get_inverse_affine(None)
        theirs = helper.paste_faces_to_input_image(upsample_img=bgr(background))
    finally:
        helper.face_parse = kept
    negatives = [255 - face.levels.astype(np.float32) for face in aligned]
    classes = small._parser.classes(negatives, batch=1)
    restored = [RestoredFace(levels=one, classes=parts) for one, parts in zip(negatives, classes, strict=True)]
    ours = background.copy()
    paste_faces(ours, (rgb.shape[1], rgb.shape[0]), aligned, restored)
    assert len(aligned) == 4
    off = np.abs(bgr(ours).astype(int) - theirs.astype(int))
    assert off.max() <= 2  # of a warp whose origin is the face's square, not the picture's
    assert (off > 1).mean() < 1e-4
    assert (ours != background).any(axis=2).mean() > 0.02


def test_noise_counts_and_is_the_same_every_time() -> None:
    from sr_kernel.faces.restore import Generator, to_inputs

    from ..face_files import new_gfpgan

    cpu = torch.device("cpu")
    network = new_gfpgan(narrow=1 / 16)
    face = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    generator = Generator(network, cpu)
    first, second = (generator.restore([face], batch=1)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    with torch.inference_mode():
        x = to_inputs([face], cpu)
        drawn = [network(x, return_rgb=False)[0] for _ in range(2)]
    assert (drawn[0] - drawn[1]).abs().max() > 0.01


def test_one_at_a_time_and_batched_agree_in_fp32(small: Any) -> None:
    rng = np.random.default_rng(1)
    faces = [rng.integers(0, 256, (512, 512, 3), dtype=np.uint8) for _ in range(3)]
    together = small._generator.restore(faces, batch=4)
    for face, made in zip(faces, together, strict=True):
        np.testing.assert_allclose(small._generator.restore([face], batch=1)[0], made, atol=0.01)


def test_sixteen_bits_are_restored_as_bright_as_eight(small: Any) -> None:
    from sr_kernel.faces.restorer import align_faces, paste_faces

    rgb = picture("Lincoln.png")
    made: list[NDArray[Any]] = []
    for source in (rgb, rgb.astype(np.uint16) * 257):
        out = np.repeat(np.repeat(source, 2, 0), 2, 1)
        aligned = align_faces(source, small.find(source))
        paste_faces(out, (160, 160), aligned, small.restore([face.levels for face in aligned]))
        assert (out != np.repeat(np.repeat(source, 2, 0), 2, 1)).any()
        made.append(out)
    off = np.abs(made[1] / 257 - made[0])
    assert off.mean() < 0.5
    assert made[1].dtype == np.uint16
    assert np.unique(made[1] % 257).size > 100, "sixteen bits were kept"


def test_strength_is_the_share_of_the_face(small: Any) -> None:
    from sr_kernel.faces.restorer import align_faces, paste_faces

    rgb = picture("Lincoln.png")
    aligned = align_faces(rgb, small.find(rgb))
    restored = small.restore([face.levels for face in aligned])
    out = {strength: rgb.copy() for strength in (0.0, 0.5, 1.0)}
    for strength, target in out.items():
        paste_faces(target, (160, 160), aligned, restored, strength=strength)
    np.testing.assert_array_equal(out[0.0], rgb)
    halfway = (out[1.0].astype(float) + rgb) / 2
    assert np.abs(out[0.5] - halfway).max() <= 1


def test_a_face_at_the_edge_is_pasted_inside_the_picture_only(small: Any) -> None:
    from sr_kernel.faces.restorer import align_faces, paste_faces

    rgb = picture("Lincoln.png")
    cut = np.ascontiguousarray(rgb[20:, 30:])
    aligned = align_faces(cut, small.find(cut))
    assert aligned
    out = np.repeat(np.repeat(cut, 3, 0), 3, 1)
    before = out.copy()
    paste_faces(out, (cut.shape[1], cut.shape[0]), aligned, small.restore([face.levels for face in aligned]))
    assert (out != before).any()


def test_a_picture_longer_than_opencv_warps_gives_the_same_face(small: Any) -> None:
    from sr_kernel.faces.align import crop

    rgb = picture("Lincoln.png")
    (matrix,) = small.find(rgb)
    made: list[NDArray[Any]] = []
    for width in (560, 40_000):
        left = width // 2
        wide = np.zeros((560, width, 3), np.uint8)
        wide[200:360, left : left + 160] = rgb
        moved = matrix.copy()
        moved[:, 2] -= matrix[:, :2] @ np.array([left, 200])
        made.append(crop(wide, moved).astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1
    assert made[0].max() > 200


def test_networks_lie_on_the_device_that_was_named(seeded: Any) -> None:
    """Upstream's go to the first GPU wherever there is one. A device without values says where they would lie."""
    from sr_kernel.faces.networks import load_detector, load_gfpgan, load_parser

    files, meta = seeded.files, torch.device("meta")
    made = (
        load_gfpgan(files.model, meta),
        load_detector(files.detector, files.detector_kind, meta),
        load_parser(files.parser, meta),
    )
    for network in made:
        assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


def test_landmarks_in_one_point_give_no_face() -> None:
    from sr_kernel.faces.align import similarity

    assert similarity(np.full((5, 2), 7, np.float32)) is None


@pytest.mark.parametrize("what", ["other", "nan", "pickle", "damaged", "missing"])
def test_weights_that_are_not_the_parsers_are_refused(tmp_path: Path, what: str) -> None:
    from sr_kernel.faces.networks import FaceFile, load_parser

    from ..face_files import face_file, new_parser

    path = tmp_path / "parser.pth"
    state = new_parser(channels=(4, 8)).state_dict()
    if what == "nan":
        first = next(iter(state))
        state[first] = torch.full_like(state[first], torch.nan)
    torch.save(state, path)
    if what == "pickle":
        torch.save({"params": Path("x")}, path)
    digest = face_file(path).sha256
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:-1])
    if what == "missing":
        path.unlink()
    said = {
        "other": "not the weights of ParseNet",
        "nan": "not finite",
        "pickle": "more than tensors",
        "damaged": "sha256",
        "missing": "cannot be read",
    }
    with pytest.raises(WeightsError, match=said[what]):
        load_parser(FaceFile(path=path, sha256=digest), torch.device("cpu"))
