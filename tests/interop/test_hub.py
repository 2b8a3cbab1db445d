"""Push and fetch against a stand-in of the Hub's HTTP interface on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import asr as encore
from asr.cli.compose import compose_recipe
from asr.cli.effects import with_tokenizer_of_init
from asr.cli.main import main
from asr.cli.run_folder import run_name
from asr.errors import InputError
from asr.interop.hub import local_model, name_of, pinned, split_datasets
from asr.model.package import FILES
from tests.cli.runs import write_recipe
from tests.decode.package import save_tiny_package

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
NAME = "hf://someone/tiny"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: commits by their id, each a mapping of paths to contents."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.head: dict[str, str] = {}
        self.served: list[str] = []

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[oid], self.head[repository] = files, oid
        return oid


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: object, code: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            given = json.loads(body)
            self.answer({"url": f"{given.get('organization')}/{given['name']}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            kinds = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self.answer({"files": kinds})
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            oid = self.server.commit("/".join(self.path.split("/")[3:5]), files)
            url = f"https://huggingface.co/someone/tiny/commit/{oid}"
            self.answer({"commitUrl": url, "commitOid": oid, "success": True})

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].split("/")
        self.server.served.append(self.path)
        if parts[1:3] == ["api", "models"]:
            repository, revision = "/".join(parts[3:5]), parts[6] if len(parts) > 6 else "main"
            head = self.server.head.get(repository)
            oid = head if revision == "main" else revision
            if head is None:
                self.answer({"error": "no"}, 404, X_Error_Code="RepoNotFound")
            elif oid not in self.server.commits:
                self.answer({"error": "no"}, 404, X_Error_Code="RevisionNotFound")
            else:
                files = self.server.commits[str(oid)]
                if "tree" in parts:
                    self.answer(
                        [
                            {"type": "file", "path": p, "size": len(c), "oid": "0"}
                            for p, c in files.items()
                        ]
                    )
                else:
                    siblings = [{"rfilename": path} for path in files]
                    self.answer({"id": repository, "sha": oid, "siblings": siblings})
            return
        if "resolve" not in parts:
            self.answer({"error": "no"}, 404)
            return
        oid, path = parts[4], "/".join(parts[5:])
        content = self.server.commits[oid][path]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self.answer(content, ETag=etag, X_Repo_Commit=oid)

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def pushed(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["push", str(folder), "someone/tiny", *words]) == 0
    return capsys.readouterr().out.strip()


def test_what_is_pushed_is_what_loads(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    save_tiny_package(run / "model")
    record = {"wer": {"test": {"wer": 12.3456}, "other": {"wer": 50.0}}}
    (run / "record.json").write_text(json.dumps(record))
    words = ("--license", "apache-2.0", "--language", "en", "--dataset", "test=corpora/an4")
    name = pushed(run, capsys, *words)
    oid = hub.head["someone/tiny"]
    assert name == f"{NAME}@{oid}"
    files = hub.commits[oid]
    assert set(files) == {*FILES, "README.md", ".eval_results/test.yaml"}
    for file in FILES:
        assert files[file] == (run / "model" / file).read_bytes()
    front: dict[str, Any] = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert front["library_name"] == "encore"
    assert front["pipeline_tag"] == "automatic-speech-recognition"
    assert (front["license"], front["datasets"]) == ("apache-2.0", ["corpora/an4"])
    (model,) = front["model-index"]
    metrics = {r["dataset"]["name"]: r["metrics"][0]["value"] for r in model["results"]}
    assert metrics == {"test": 12.346, "other": 50.0}
    (entry,) = yaml.safe_load(files[".eval_results/test.yaml"])
    assert (entry["dataset"]["id"], entry["value"]) == ("corpora/an4", 12.346)

    # extra files of a stranger are not even fetched
    evil = {**files, "evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"}
    newer = hub.commit("someone/tiny", evil)
    folder = local_model(NAME)
    assert {path.name for path in folder.iterdir()} == {*FILES, "README.md"}
    assert name_of(folder) == run_name(folder) == f"tiny@{newer[:8]}"
    assert local_model(name).name == oid, "a revision is that revision"
    assert pinned(NAME) == f"{NAME}@{newer}"
    assert pinned(name) == name

    assert encore.load(NAME).package.tokenizer.decode([2, 3])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    num_served = len(hub.served)
    assert local_model(name) == folder.parent / oid
    assert len(hub.served) == num_served, "the cache alone serves offline"


def test_a_recipe_names_the_commit_that_it_started_from(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny_package(tmp_path / "model")
    name = pushed(tmp_path / "model", capsys)
    recipe = write_recipe(tmp_path / "tones.yaml", tmp_path)
    assert with_tokenizer_of_init(compose_recipe(recipe, [f"init={NAME}"]))["init"] == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (NAME, "no such model on the Hub"),
        ("hf://someone", "allowed: hf://OWNER/NAME or"),
        ("hf://../..", "allowed: hf://OWNER/NAME or"),
        ("hf://a/b@c d", "allowed: hf://OWNER/NAME or"),
    ],
)
def test_models_that_are_not_there(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        local_model(name)


def test_errors_of_a_line(
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_tiny_package(tmp_path / "model")
    pushed(tmp_path / "model", capsys)
    with pytest.raises(InputError, match="no such revision"):
        local_model(f"{NAME}@{'0' * 40}")
    assert main(["transcribe", "a.wav", "--model", "hf://nobody/none"]) == 2
    assert "hf:/nobody/none: no such model on the Hub" in capsys.readouterr().err
    (tmp_path / "model" / "config.json").write_text("{}")
    assert main(["push", str(tmp_path / "model"), "someone/tiny"]) == 2
    assert "lacks features" in capsys.readouterr().err
    with pytest.raises(InputError, match="--dataset test: allowed: SPLIT=OWNER/NAME"):
        split_datasets(["test"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="not in the cache, and the Hub cannot be reached"):
        local_model("hf://someone/else")
