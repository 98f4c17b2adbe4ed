"""The HTTP service, most of it without a network and with a painter in place of a model."""

from __future__ import annotations

import email
import email.policy
import io
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import autofix
from autofix.errors import EngineError
from autofix.frontends.http import response as http_response
from autofix.frontends.http.app import Limits, make_app
from autofix.values import Picture
from tests.build import picture
from tests.conftest import ROOT
from tests.frontends.tools import fake_pipeline, served
from tests.pipeline.fakes import Boxes, Painter
from tests.waiting import until

HOME = "http://127.0.0.1:7870"
LAUNCH = ROOT / "samples" / "launch.png"


def png(seed=0, size=(160, 120), kind="PNG", **more):
    file = io.BytesIO()
    Image.fromarray(picture(*size, seed=seed).pixels).save(file, kind, **more)
    return file.getvalue()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def client_of(tool=None, limits=None, **more):
    return TestClient(make_app(tool or fake_pipeline(), limits, **more), base_url=HOME)


@pytest.fixture
def client():
    with client_of() as made:
        yield made


def fix(client, data=None, *, recipe=None, name="a.png", **more):
    files = {"picture": (name, png() if data is None else data)}
    form = (
        {}
        if recipe is None
        else {"recipe": recipe if isinstance(recipe, str) else json.dumps(recipe)}
    )
    return client.post("/fix", files=files, data=form, **more)


def outcome(response):
    return json.loads(response.headers[http_response.OUTCOME_HEADER])


def test_a_picture_comes_back_fixed_and_as_it_was_elsewhere(client):
    given = png(7)
    response = fix(client, given)
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    said = outcome(response)
    assert (said["status"], said["input"], said["recipe"]) == ("fixed", "a.png", "face")
    (region,) = said["regions"]
    assert (region["box"], region["result"]) == ([60, 40, 90, 76], "fixed")
    changed = (pixels(given) != pixels(response.content)).any(axis=-1)
    assert changed[50:60, 70:80].all()
    assert not changed[:, :40].any()


def test_text_of_the_file_is_kept_and_the_record_added(client):
    response = fix(client, LAUNCH.read_bytes(), recipe={"seed": "auto"})
    text = Image.open(io.BytesIO(response.content)).text
    own = Image.open(LAUNCH).text["parameters"]
    assert text["parameters"].startswith(own)
    assert json.loads(text["autofix"])["regions"][0]["seed"] == 1234  # the picture's own


@pytest.mark.parametrize(
    ("kind", "media"),
    [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("TIFF", "image/tiff"), ("BMP", "image/bmp")],
)
def test_picture_comes_back_in_its_own_format(client, kind, media):
    response = fix(client, png(kind=kind))
    assert (response.status_code, response.headers["content-type"]) == (200, media)
    assert Image.open(io.BytesIO(response.content)).format == kind
    assert outcome(response)["status"] == "fixed"


def test_picture_without_faces_comes_back_byte_for_byte():
    with client_of(fake_pipeline(detector=Boxes())) as client:
        given = png(compress_level=1)
        response = fix(client, given)
    assert response.content == given
    assert (outcome(response)["status"], outcome(response)["regions"]) == ("unchanged", [])


def test_the_whole_outcome_comes_as_a_part_of_its_own(client):
    response = fix(client, LAUNCH.read_bytes(), headers={"Accept": "multipart/mixed, image/png"})
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.content, policy=email.policy.HTTP)
    said, file = message.iter_parts()
    record = json.loads(said.get_payload(decode=True))
    assert record["regions"][0]["prompt"].startswith("portrait photo")
    assert file.get_content_type() == "image/png"
    assert Image.open(io.BytesIO(file.get_payload(decode=True))).size == (960, 640)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("*/*", False),
        ("", False),
        ("multipart/mixed", True),
        ("image/png, Multipart/Mixed;q=0.5", True),
        ("multipart/mixed;q=0", False),
        ("multipart/mixed; q=0.0, */*", False),
    ],
)
def test_parts_come_only_where_they_are_asked_for_by_name(accept, wanted):
    assert http_response.wants_mixed(accept) is wanted


def test_a_long_outcome_is_cut_short_for_the_header():
    region = {
        "index": 1,
        "result": "fixed",
        "prompt": "é" * 9000,
        "checks": [{}],
        "reason": "x" * 40,
    }
    record = {
        "status": "fixed",
        "reason": "é" * 5000,
        "notes": ["n" * 5000],
        "regions": [region] * 99,
    }
    text = http_response.outcome_header(record)
    assert len(text) <= http_response.HEADER_BYTES
    assert text.isascii()
    said = json.loads(text)
    assert len(said["regions"]) + said["regions_left_out"] == 99
    assert len(said["regions"]) > 10
    assert "regions_left_out" not in json.loads(
        http_response.outcome_header({**record, "regions": [region]})
    )


@pytest.mark.parametrize("how", ["dotted", "section", "file"])
def test_a_client_may_change_settings(client, how):
    recipe = {"inpaint": {"strength": 0.7}} if how == "section" else {"inpaint.strength": 0.7}
    if how == "file":
        files = {"picture": ("a.png", png()), "recipe": ("r.json", json.dumps(recipe))}
        response = client.post("/fix", files=files)
    else:
        response = fix(client, recipe=recipe)
    assert outcome(response)["regions"][0]["strength"] == 0.7
    assert outcome(fix(client))["regions"][0]["strength"] == 0.4  # it held for that one alone


@pytest.mark.parametrize(
    "name",
    [
        "model.name",
        "device.name",
        "prompt.wildcards",
        "sampling.sampler",
        "device.batch_size",
        "inpaint.candidates",
        "crop.upscaler",
        "crop.size",
        "detect.detectors",
        "detect.trust_pickle",
        "detect.confidence",
        "passes",
        "name",
    ],
)
def test_settings_of_files_models_and_memory_are_the_servers_alone(client, name):
    for recipe in ({name: "x"}, {name.partition(".")[0]: {name.partition(".")[2]: "x"}}):
        response = fix(client, recipe=recipe)
        if "." in name or recipe == {name: "x"}:
            assert response.status_code == 403
            assert name in response.json()["detail"]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ("[" * 20_000, "no JSON"),
        ('{"prompt.positive": "\\ud800"}', "no JSON"),
        ('{"inpaint.strength": NaN}', "inpaint.strength"),
        ({"inpaint.strength": 1.5}, "inpaint.strength to 1.5"),
        ({"inpaint": {"strenght": 0.5}}, "did you mean 'strength'"),
        ({"mask": 5}, "mask to 5"),
        ({"mask.blur.x": 5}, "no setting 'mask.blur.x'"),
        ({"prompt.positive": "{a|"}, "{a|"),
    ],
)
def test_a_recipe_that_does_not_hold_is_422(client, recipe, said):
    response = fix(client, recipe=recipe)
    assert response.status_code == 422
    assert said in response.json()["detail"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no picture", "not a picture of a known kind"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (png()[:3000], "damaged"),
        (png(kind="GIF"), "GIF"),
    ],
)
def test_broken_picture_is_422(client, data, said):
    response = fix(client, data)
    assert response.status_code == 422
    assert said in response.json()["detail"]


def test_another_body_or_kind_of_file_is_415(client):
    assert client.post("/fix", content=png()).status_code == 415
    assert client.post("/fix", json={"picture": "x"}).status_code == 415
    assert client.post("/fix", data={"picture": "x"}).status_code == 415
    for declared, code in [("text/plain", 415), ("image/png", 200), ("", 200)]:
        files = {"picture": ("a.png", png(), declared)}
        assert client.post("/fix", files=files).status_code == code


@pytest.mark.parametrize(
    "files",
    [
        [("recipe", (None, "{}"))],
        [("picture", (None, "text, not a file"))],
        [("picture", ("a.png", png())), ("picture", ("b.png", png()))],
        [("picture", ("a.png", png())), ("more", (None, "x"))],
        [("picture", ("a.png", png())), ("recipe", (None, "{}")), ("recipe", (None, "{}"))],
    ],
)
def test_a_form_with_other_parts_is_422(client, files):
    response = client.post("/fix", files=files)
    assert response.status_code == 422
    assert "one file `picture`" in response.json()["detail"]


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("", b"x"),
        ("; boundary=x", b"no part at all"),
        ("; boundary=x", b"--x\r\n\r\nnameless\r\n--x--"),
    ],
)
def test_a_form_that_cannot_be_read_is_422(client, boundary, body):
    headers = {"Content-Type": f"multipart/form-data{boundary}"}
    assert client.post("/fix", content=body, headers=headers).status_code == 422


def test_too_large_picture_is_413_and_not_read_to_its_end():
    limits = Limits(picture_bytes=20_000, picture_pixels=10_000)
    with client_of(limits=limits) as client:
        assert "bytes" in fix(client, bytes(25_000)).json()["detail"]
        assert "10000 pixels" in fix(client, png(size=(101, 100), kind="JPEG")).json()["detail"]
        assert fix(client, png(size=(100, 100), kind="JPEG")).status_code == 200
        for refused in (fix(client, bytes(25_000)), fix(client, bytes(900_000))):
            assert refused.status_code == 413
        assert fix(client, recipe={"prompt.positive": "x" * 70_000}).status_code in (413, 422)
        sent = []

        def endless():
            yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
            for _ in range(1000):
                sent.append(1)
                yield bytes(10_000)

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert client.post("/fix", content=endless(), headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("token", "header", "size", "code"),
    [
        ("right-token", b"", 1000, b"401"),
        ("", b"Origin: https://evil.example\r\n", 1000, b"403"),
        ("", b"", 10**9, b"413"),
    ],
)
def test_body_of_a_refused_request_is_not_read(token, header, size, code):
    with (
        served(make_app(fake_pipeline(), token=token)) as home,
        socket.create_connection(("127.0.0.1", int(home.rpartition(":")[2])), 30) as caller,
    ):
        caller.sendall(
            b"POST /fix HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n"
            + header
            + f"Content-Length: {size}\r\n\r\n".encode()
        )
        assert caller.recv(1000).startswith(b"HTTP/1.1 " + code)


def test_form_in_the_schema_has_its_parts_and_their_descriptions(client):
    schema = client.get("/openapi.json").json()
    content = schema["paths"]["/fix"]["post"]["requestBody"]["content"]
    form = schema["components"]["schemas"][
        content["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    ]
    assert form["required"] == ["picture"]
    assert "PNG" in form["properties"]["picture"]["description"]
    assert "inpaint.strength" in form["properties"]["recipe"]["description"]


def test_health_metrics_and_the_page(client):
    fix(client)
    fix(client, b"no picture")
    assert client.get("/health").json() == {
        "status": "ok",
        "version": autofix.records.version(),
        "waiting": 0,
    }
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'autofix_answers_total{code="200"} 1.0',
        'autofix_answers_total{code="422"} 1.0',
        'autofix_pictures_total{status="fixed"} 1.0',
        'autofix_regions_total{result="fixed"} 1.0',
        "autofix_seconds_count 1.0",
        "autofix_waiting 0.0",
    ):
        assert line in lines
    assert "swagger" in client.get("/docs").text
    assert set(client.get("/openapi.json").json()["paths"]) == {"/fix", "/health", "/metrics"}


def test_a_pipeline_that_is_closed_is_not_healthy():
    pipeline = fake_pipeline()
    with client_of(pipeline) as client:
        assert client.get("/health").status_code == 200
        pipeline.close()
        assert client.get("/health").status_code == 503
        response = fix(client)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic right-token", "Bearer é"])
def test_a_wrong_token_is_401(given):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    with client_of(token="right-token") as client:
        assert fix(client, headers=headers).status_code == 401
        assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/health", headers=headers).status_code == 200
        good = {"Authorization": "Bearer right-token"}
        assert fix(client, headers=good).status_code == 200
        assert fix(client, headers={**good, "Host": "my.server"}).status_code == 200
        assert client.get("/metrics", headers=good).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, 403),  # DNS rebinding
        ({"Host": "localhost:7870"}, 200),
        ({"Host": "[::1]:7870"}, 200),
        ({"Host": "[::1"}, 403),
        ({"Origin": "https://evil.example"}, 403),  # a form on a web site
        ({"Origin": "null"}, 403),
        ({"Origin": HOME}, 200),  # /docs
    ],
)
def test_web_sites_cannot_make_a_browser_call_without_a_token(client, headers, code):
    assert fix(client, headers=headers).status_code == code
    assert client.get("/metrics", headers=headers).status_code == code


def test_an_engine_that_fails_leaves_the_picture_and_says_so():
    class Failing(Painter):
        def inpaint(self, crops, settings):
            raise EngineError("the model failed: out of memory", "try a smaller --size")

    with client_of(fake_pipeline(Failing())) as client:
        given = png()
        response = fix(client, given)
    assert (response.status_code, response.content) == (200, given)
    assert outcome(response)["status"] == "failed"
    assert "out of memory" in outcome(response)["reason"]


def test_unforeseen_error_is_500_and_hits_its_picture_alone():
    class Odd(Boxes):
        def detect(self, pictures, *, names=()):
            if any(each.shape == (120, 200, 3) for each in pictures):
                raise ZeroDivisionError("inside")
            return super().detect(pictures, names=names)

    with client_of(fake_pipeline(detector=Odd((60, 40, 90, 76)))) as client:
        bad = fix(client, png(size=(200, 120)))
        assert (bad.status_code, bad.json()) == (500, {"detail": "ZeroDivisionError: inside"})
        assert fix(client).status_code == 200


class Slow(Painter):
    """Holds every batch until it is let go."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.waits = False

    def inpaint(self, crops, settings):
        self.waits = True
        assert self.gate.wait(30)
        return super().inpaint(crops, settings)


def test_slow_request_is_503(client):
    engine = Slow()
    with client_of(fake_pipeline(engine), Limits(seconds=0.2)) as client:
        response = fix(client)
        engine.gate.set()
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "longer than 0.2 s" in response.json()["detail"]


def test_requests_of_equal_settings_share_a_batch_and_others_do_not():
    engine = Slow()
    recipes = [None, {"inpaint.strength": 0.5}, None, {"inpaint.strength": 0.5}, None]
    pipeline = fake_pipeline(engine)
    with client_of(pipeline) as client, ThreadPoolExecutor(9) as threads:
        first = threads.submit(fix, client)
        until(lambda: engine.waits)
        others = [threads.submit(fix, client, recipe=recipe) for recipe in recipes]
        until(lambda: pipeline.in_flight.count == 6)
        engine.gate.set()
        codes = [each.result(30).status_code for each in (first, *others)]
    assert codes == [200] * 6
    strengths = [[crop.region.strength for crop in batch] for batch in engine.batches]
    assert strengths[0] == [0.4]
    assert sorted(strengths[1:]) == [[0.4] * 3, [0.5] * 2]


def test_waiting_pictures_are_limited():
    engine, limits = Slow(), Limits(waiting=2)
    pipeline = fake_pipeline(engine)
    with client_of(pipeline, limits) as client, ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(fix, client) for _ in range(pipeline.most_in_flight + 2)]
        until(lambda: "autofix_waiting 2.0" in client.get("/metrics").text)
        late = fix(client)
        engine.gate.set()
        assert {each.result(30).status_code for each in asked} == {200}
    assert (late.status_code, late.headers["retry-after"]) == (503, "5")
    assert "2 pictures wait already" in late.json()["detail"]


def test_fifty_clients_at_once_all_get_the_right_answer_or_503():
    pipeline = fake_pipeline()
    alone = {
        seed: pipeline.fix([Picture(picture(160, 120, seed=seed).pixels)])[0].picture.pixels
        for seed in range(50)
    }

    def ask(home, seed):
        with httpx.Client(base_url=home, timeout=60) as one:
            response = fix(one, png(seed))
            code = response.status_code
            right = code == 503 or np.array_equal(pixels(response.content), alone[seed])
            return code, right, response.headers.get("retry-after")

    app = make_app(fake_pipeline(), Limits(waiting=6))
    with served(app) as home, ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda seed: ask(home, seed), range(50)))
    assert all(right for _, right, _ in answers)
    assert {code for code, _, _ in answers} <= {200, 503}
    assert sum(code == 200 for code, _, _ in answers) >= 6
    assert all(after == "5" for code, _, after in answers if code == 503)


def test_real_pictures_through_a_real_fixer():
    with autofix.Fixer(model="null") as fixer, client_of(fixer) as client:
        response = fix(client, LAUNCH.read_bytes())
        assert [each["label"] for each in outcome(response)["regions"]] == ["face"]


def test_a_picture_that_cannot_be_written_back_is_422(client, monkeypatch):
    def failing(picture, kind):
        raise ValueError("too much EXIF")

    monkeypatch.setattr(http_response, "encode", failing)
    response = fix(client)
    assert response.status_code == 422
    assert "PNG cannot hold the fixed picture (too much EXIF)" in response.json()["detail"]


def test_a_recipe_in_a_file_has_its_limit_too(client):
    files = {"picture": ("a.png", png()), "recipe": ("r.json", b" " * 70_000)}
    assert client.post("/fix", files=files).status_code == 413
