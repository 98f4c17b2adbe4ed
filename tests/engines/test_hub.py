"""Models of the Hugging Face hub: from the local cache, and from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
from huggingface_hub import snapshot_download

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.hub import files_to_fetch, variant_in, variant_of
from autofix.engines.locate import resolve
from autofix.errors import ModelError
from autofix.settings.model_folders import ModelFolders
from autofix.settings.recipe import Recipe
from tests.engines import tiny_files
from tests.engines.face_crops import crops

NONE = ModelFolders()
COMMIT = "c" * 40
NAME = "owner/tiny-sd"
GATED = "owner/gated"


@pytest.fixture
def folder(folders):
    return folders["sd"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's, for this test alone."""
    place = tmp_path / "hub cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(place))
    return place


@pytest.fixture
def hub(folder):
    """A hub on this machine that has the model and more; `asked` are the files it gave."""
    files = {
        each.relative_to(folder).as_posix(): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }
    more = (
        "unet/diffusion_pytorch_model.bin",
        "v1-5.safetensors",
        "safety_checker/model.safetensors",
    )
    files |= dict.fromkeys(
        (*more, "vae/diffusion_pytorch_model.non_ema.safetensors"), b"not needed"
    )

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(send=False)

        def do_GET(self):
            self.answer(send=True)

        def answer(self, *, send):
            path = self.path.split("?")[0]
            body, headers = b"{}", {}
            if path.startswith(f"/api/models/{NAME}"):
                siblings = [{"rfilename": name} for name in files]
                body = json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode()
                if "/tree/" in path:
                    body = json.dumps(
                        [
                            {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                            for name, data in files.items()
                        ]
                    ).encode()
            else:
                owner, repository, _, revision, *name = path.lstrip("/").split("/")
                name = "/".join(name)
                if f"{owner}/{repository}" == GATED:
                    return self.refuse("GatedRepo")
                if f"{owner}/{repository}" != NAME:
                    return self.refuse("RepoNotFound")
                if revision not in ("main", COMMIT):
                    return self.refuse("RevisionNotFound")
                if name not in files:
                    return self.refuse("EntryNotFound")
                body = files[name]
                headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
                if send:
                    asked.add(name)
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if send:
                self.wfile.write(body)
            return None

        def refuse(self, code):
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    asked: set[str] = set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = asked
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def cached(cache, folder, *, revision="main", without=()):
    """Put a folder's files into the cache, as if they had been fetched."""
    root = cache / f"models--{NAME.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / revision).write_text(COMMIT)
    for each in folder.rglob("*"):
        place = root / "snapshots" / COMMIT / each.relative_to(folder)
        if each.is_file() and each.name not in without:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(each.read_bytes())
    return root / "snapshots" / COMMIT


@pytest.mark.parametrize("revision", ["main", "v2"])
def test_a_cached_hub_model_needs_no_network(cache, folder, revision):
    copy = cached(cache, folder, revision=revision)
    settings = Recipe(
        sampling={"steps": 1}, model={"revision": "" if revision == "main" else revision}
    )
    source = resolve(NAME, settings, NONE, offline=True)
    assert (source.kind, source.path, source.name) == ("hub", copy, NAME)
    engine = DiffusionEngine(source, settings)
    assert engine.info.name == NAME
    assert engine.inpaint(crops(1), settings)[0].pixels.shape == (64, 64, 3)


def test_a_short_name_may_be_a_hub_s(cache, folder):
    cached(cache, folder)
    found = resolve("mine", Recipe(), ModelFolders({"mine": NAME}), offline=True)
    assert (found.kind, found.id) == ("hub", NAME)


@pytest.mark.parametrize(
    ("without", "part"),
    [((), "not in"), (("diffusion_pytorch_model.safetensors",), "only in part in")],
)
def test_models_that_are_not_cached_are_refused_offline_with_advice(cache, folder, without, part):
    if without:
        cached(cache, folder, without=without)
    with pytest.raises(ModelError, match=f"is {part} the local cache.*hf download {NAME}"):
        resolve(NAME, Recipe(), NONE, offline=True)


def test_needed_files_alone_are_fetched(cache, folder, hub):
    source = resolve(NAME, Recipe(), NONE, endpoint=hub.url)
    assert source.path.is_relative_to(cache)
    assert hub.asked == {
        each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()
    }
    hub.asked.clear()
    assert resolve(NAME, Recipe(), NONE, endpoint=hub.url) == source
    assert not hub.asked
    settings = Recipe(sampling={"steps": 1})
    DiffusionEngine(source, settings).inpaint(crops(1), settings)


def test_model_info_needs_the_configs_alone(cache, hub):
    source = resolve(NAME, Recipe(), NONE, endpoint=hub.url, weights=False)
    assert not any(name.endswith((".safetensors", ".bin")) for name in hub.asked)
    assert DiffusionEngine(source, Recipe()).info.size.native == 64
    whole = resolve(NAME, Recipe(), NONE, endpoint=hub.url)
    assert (whole.path / "unet" / "diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("owner/nothing", "", "there is no hub model 'owner/nothing', nor a file"),
        (NAME, "v9", "has no revision 'v9'"),
        (GATED, "", r"'owner/gated' is gated.*accept its terms at .*owner/gated"),
    ],
)
def test_models_that_the_hub_does_not_give_are_named(cache, hub, name, revision, message):
    with pytest.raises(ModelError, match=message):
        resolve(name, Recipe(model={"revision": revision}), NONE, endpoint=hub.url)


def test_a_hub_that_does_not_answer_is_reported_with_advice(cache, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(ModelError, match=r"cannot be fetched: no route.*check the network"):
        resolve(NAME, Recipe(), NONE)


LISTED = [
    "model_index.json", "README.md", "model.safetensors", "unet/config.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.bin",
    "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors",
    "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/spiece.model", "unet/deep/x.json",
]  # fmt: skip


@pytest.mark.parametrize(("half", "count"), [(True, 1), (False, 3)])
def test_half_precision_files_are_fetched_where_they_will_do(half, count):
    chosen = files_to_fetch(LISTED, ["unet", "vae", "tokenizer"], half=half, weights=True)
    unet = [each for each in chosen if each.startswith("unet/") and "safetensors" in each]
    assert len(unet) == count
    assert all(("fp16" in each) == half for each in unet)
    assert "vae/diffusion_pytorch_model.fp16.safetensors" in chosen  # there is no other
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/spiece.model"} < {*chosen}
    assert not {"README.md", "model.safetensors", "unet/deep/x.json"} & {*chosen}


def test_pickles_alone_are_not_fetched():
    listed = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"]
    assert files_to_fetch(listed, ["unet"], half=False, weights=True) == []


@pytest.mark.parametrize(
    ("file", "variant"),
    [
        ("unet/diffusion_pytorch_model.safetensors", ""),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "fp16"),
        ("te/model.fp16-00001-of-00002.safetensors", "fp16"),
        ("te/model-00001-of-00002.safetensors", ""),
        ("te/model.safetensors.index.fp16.json", ""),
    ],
)
def test_the_variant_in_a_name(file, variant):
    assert variant_of(file) == variant


def test_a_folder_with_half_precision_files_alone_loads(tmp_path):
    tiny_files.pipeline("sd1").save_pretrained(tmp_path, variant="fp16")
    assert variant_in(tmp_path) == "fp16"
    settings = Recipe(sampling={"steps": 1})
    assert DiffusionEngine(tmp_path, settings).inpaint(crops(1), settings)


def test_the_cache_is_the_hub_library_s_own(cache, folder):
    copy = cached(cache, folder)
    assert Path(snapshot_download(NAME, local_files_only=True)) == copy
