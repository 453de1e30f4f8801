"""Keys, signatures, and what a unit that has a public key loads: with the service's own commands."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edge.__main__ import main as edge
from edge.bundles.bundle import load_bundle
from edge.errors import BundleError
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.trt_build.tiny_graphs import write_subjects
from trt_build.__main__ import main


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of one pair of keys."""
    prefix = tmp_path_factory.mktemp("keys") / "site"
    assert main(["keygen", "--out", str(prefix)]) == 0
    return prefix


@pytest.fixture
def private(keys: Path) -> Path:
    return keys.with_name("site.private.pem")


@pytest.fixture
def public(keys: Path) -> Path:
    return keys.with_name("site.public.pem")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    folder = make_tiny_bundle(tmp_path_factory.mktemp("signed") / "bundle")
    assert main(["sign", str(folder), "--key", f"{keys}.private.pem"]) == 0
    return folder


@pytest.fixture
def signed(made: Path, tmp_path: Path) -> Path:
    """A signed bundle of a test's own."""
    return Path(shutil.copytree(made, tmp_path / "bundle"))


@pytest.fixture
def config(tmp_path: Path, signed: Path, public: Path) -> Path:
    """Of a unit that asks for a signature."""
    path = tmp_path / "edge.toml"
    text = '[source]\nkind = "test"\n[rtsp]\nenabled = false\n[mqtt]\nenabled = false\n'
    path.write_text(f'{text}[bundle]\npath = "{signed}"\npublic_key = "{public}"\n', encoding="utf-8")
    return path


class TestKeys:
    def test_the_private_one_is_its_owners_alone(self, private: Path, public: Path) -> None:
        assert private.stat().st_mode & 0o777 == 0o600
        assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----")
        assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----")

    def test_a_folder_gets_both(self, tmp_path: Path) -> None:
        assert main(["keygen", "--out", str(tmp_path)]) == 0
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle.private.pem", "bundle.public.pem"]

    @pytest.mark.parametrize("there", ["private", "public"])
    def test_a_key_is_never_overwritten(self, there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / f"k.{there}.pem"
        path.write_text("precious", encoding="utf-8")
        assert main(["keygen", "--out", str(tmp_path / "k")]) == 3
        assert_one_line(capsys.readouterr().err, f"{path}: is there already, and a key is never overwritten")
        assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]

    def test_their_folder_is_made(self, tmp_path: Path) -> None:
        assert main(["keygen", "--out", str(tmp_path / "new" / "keys" / "site")]) == 0
        assert len(list((tmp_path / "new" / "keys").iterdir())) == 2

    def test_openssl_tells_the_same_fingerprint(
        self, made: Path, public: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["openssl", "pkey", "-pubin", "-in", str(public), "-outform", "DER"]
        der = subprocess.run(command, capture_output=True, check=True).stdout
        digest = subprocess.run(["sha256sum"], input=der, capture_output=True, check=True).stdout.split()[0].decode()
        assert json.loads((made / "manifest.sig").read_text())["key"] == digest


class TestUnit:
    def test_a_signed_bundle_is_loaded(
        self, signed: Path, public: Path, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert load_bundle(signed, public_key=public).manifest.name == "tiny"
        assert edge(["check", "--config", str(config)]) == 0
        assert "bundle tiny version 1.0 ok, 2 labels, signature ok" in capsys.readouterr().out

    def test_the_key_may_be_a_credential(self, config: Path, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config.write_text(config.read_text().replace(str(public), public.name), encoding="utf-8")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(public.parent))
        assert edge(["check", "--config", str(config)]) == 0

    @pytest.mark.parametrize("command", ["check", "run"])
    def test_an_unsigned_one_is_refused(
        self, command: str, signed: Path, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (signed / "manifest.sig").unlink()
        assert edge([command, "--config", str(config)]) == 4
        assert capsys.readouterr().err == (
            f"tapetum-edge: {signed}: the bundle is not signed, and public_key asks for a signature: "
            "install a signed bundle\n"
        )
        load_bundle(signed)  # without a key nobody asks

    def test_the_bundle_that_ships_needs_no_signature(
        self, config: Path, signed: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is a part of the program, and what a unit falls back to."""
        config.write_text(config.read_text().replace(str(signed), ""), encoding="utf-8")
        assert edge(["check", "--config", str(config)]) == 0
        assert "signature ok" not in capsys.readouterr().out

    def test_a_signature_by_another_key(self, signed: Path, public: Path, tmp_path: Path) -> None:
        assert main(["keygen", "--out", str(tmp_path / "other")]) == 0
        assert main(["sign", str(signed), "--key", str(tmp_path / "other.private.pem")]) == 0
        refused(signed, public, f"{signed}: the bundle is signed by another key (", "than", str(public))

    def test_who_claims_to_have_signed_is_not_believed(self, signed: Path, public: Path, tmp_path: Path) -> None:
        mine = json.loads((signed / "manifest.sig").read_text())["key"]
        self.test_a_signature_by_another_key(signed, public, tmp_path)
        edit_signature(signed, key=mine)
        refused(signed, public, "altered after it was signed")

    @pytest.mark.parametrize("change", [(b'"tiny"', b'"fake"'), (b'"cat"', b'"dot"'), (b"\n", b"\n ")])
    def test_an_altered_manifest(self, change: tuple[bytes, bytes], signed: Path, public: Path) -> None:
        path = signed / "manifest.json"
        path.write_bytes(path.read_bytes().replace(*change, 1))
        load_bundle(signed)  # it is valid
        refused(signed, public, f"{signed}: the bundle's manifest was altered after it was signed")

    def test_the_signature_is_checked_before_the_manifest_is_parsed(self, signed: Path, public: Path) -> None:
        (signed / "manifest.json").write_bytes(b"{")
        refused(signed, public, "altered after it was signed")

    def test_an_altered_graph(self, signed: Path, public: Path) -> None:
        path = signed / "colorizer_fp32.onnx"
        path.write_bytes(path.read_bytes()[::-1])
        refused(signed, public, "colorizer_fp32.onnx: sha256 differs from the manifest")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "Invalid JSON"),
            (b"\xff\x00", "Invalid JSON"),
            (b"{}", "key: Field required; signature: Field required"),
            (b" " * 5000, "over 4096 bytes"),
        ],
    )
    def test_a_damaged_signature_file(self, content: bytes, message: str, signed: Path, public: Path) -> None:
        (signed / "manifest.sig").write_bytes(content)
        refused(signed, public, f"{signed / 'manifest.sig'}: damaged: ", message, "install the bundle again")

    @pytest.mark.parametrize(
        ("key", "value"),
        [("algorithm", "none"), ("signature", "AAAA"), ("signature", "=" * 88), ("key", "0"), ("x", 1)],
    )
    def test_a_signature_with_a_wrong_key(self, key: str, value: object, signed: Path, public: Path) -> None:
        edit_signature(signed, **{key: value})
        refused(signed, public, f"damaged: {key}: ")

    def test_a_folder_in_place_of_the_signature(self, signed: Path, public: Path) -> None:
        (signed / "manifest.sig").unlink()
        (signed / "manifest.sig").mkdir()
        refused(signed, public, "cannot read the signature: it is no file")

    def test_a_public_key_that_is_none(
        self, config: Path, public: Path, private: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = config.read_text()
        curve = ec.generate_private_key(ec.SECP256R1()).public_key()
        other = config.with_name("curve.pem")
        other.write_bytes(curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        cases = {
            private: "not a public key in PEM",
            other: "not an Ed25519 key",
            config: "not a public key in PEM",
            config.with_name("none.pem"): "cannot read the public key: No such file",
        }
        for path, message in cases.items():
            config.write_text(text.replace(str(public), str(path)), encoding="utf-8")
            assert edge(["check", "--config", str(config)]) == 2
            assert f"tapetum-edge: {path}: {message}" in capsys.readouterr().err


def refused(folder: Path, public: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder, public_key=public)
    assert str(caught.value).isprintable()
    for word in words:
        assert word in str(caught.value)


def edit_signature(folder: Path, **update: object) -> None:
    path = folder / "manifest.sig"
    path.write_text(json.dumps(json.loads(path.read_text()) | update), encoding="utf-8")


class TestSigning:
    def test_a_signature_can_be_checked_on_the_workstation(
        self, signed: Path, public: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["sign", str(signed), "--check", str(public)]) == 0
        assert capsys.readouterr().out == f"{signed}: tiny version 1.0: signature ok\n"
        (signed / "context_int8.onnx").unlink()  # not what "auto" takes, but it was signed for
        assert main(["sign", str(signed), "--check", str(public)]) == 4
        assert_one_line(capsys.readouterr().err, "context_int8.onnx: cannot read the model")

    def test_a_bundle_that_is_not_whole_is_not_signed(
        self, signed: Path, private: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (signed / "manifest.sig").unlink()
        (signed / "context_int8.onnx").write_bytes(b"else")
        assert main(["sign", str(signed), "--key", str(private)]) == 4
        assert_one_line(capsys.readouterr().err, "context_int8.onnx: 4 bytes instead of")
        assert not (signed / "manifest.sig").exists()

    def test_pack_signs(self, signed: Path, private: Path, public: Path, tmp_path: Path) -> None:
        out = tmp_path / "packed"
        assert main(["pack", str(signed), "--out", str(out), "--sign", str(private)]) == 0
        load_bundle(out, public_key=public)

    def test_what_rewrites_the_manifest_drops_a_signature_that_no_longer_fits(
        self, signed: Path, private: Path, public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images, _ = write_subjects(tmp_path / "subjects", 1)
        evaluate = ["evaluate", str(signed), "--images", str(images)]
        trim = ["pack", str(signed), "--out", str(signed), "--ship", "fp32"]
        for command in (evaluate, trim):
            assert main([*command, "--sign", str(private)]) == 0
            load_bundle(signed, public_key=public)
            assert "no longer fits" not in capsys.readouterr().out
            assert main(command) == 0
            assert "no longer fits and is removed: sign again with tapetum-build sign" in capsys.readouterr().out
            assert not (signed / "manifest.sig").exists()

    def test_a_private_key_that_is_none(
        self, signed: Path, public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        curve = tmp_path / "curve.pem"
        form = PrivateFormat.PKCS8
        curve.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, form, NoEncryption()))
        locked = tmp_path / "locked.pem"
        locked.write_bytes(
            ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x"))
        )
        before = (signed / "manifest.sig").read_bytes()
        for path, message in {
            public: "not a private key in PEM",
            curve: "not an Ed25519 key",
            locked: "the private key has a passphrase",
            tmp_path / "none": "cannot read the private key: No such file",
        }.items():
            assert main(["sign", str(signed), "--key", str(path)]) == 3
            assert_one_line(capsys.readouterr().err, f"{path}: {message}")
        assert (signed / "manifest.sig").read_bytes() == before

    def test_what_cannot_be_written(self, signed: Path, private: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (signed / "manifest.sig").unlink()
        (signed / "manifest.sig").mkdir()
        assert main(["sign", str(signed), "--key", str(private)]) == 1
        assert_one_line(capsys.readouterr().err, f"{signed / 'manifest.sig'}: cannot write: Is a directory")

    @pytest.mark.parametrize("options", [[], ["--key", "a", "--check", "b"]])
    def test_one_of_both(self, options: list[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["sign", "x", *options])


def assert_one_line(error: str, message: str) -> None:
    assert error.startswith("tapetum-build: ") and error.count("\n") == 1 and message in error, error
