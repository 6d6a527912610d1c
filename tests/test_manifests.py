"""The compose file and the Kubernetes manifests, held against their schemas and against the gateway's configuration."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import kubernetes_validate
import yaml
from compose_spec import PyCompose
from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__
from gateway.config import ConfigError, Settings, load
from gateway.config.schema import Server
from tests.run import ROOT

PACKAGING = ROOT / "packaging"
KUBERNETES = sorted(PACKAGING.glob("kubernetes/*.yaml"))


@cache
def manifest(name: str) -> dict[str, Any]:
    """One file of ``packaging/kubernetes``."""
    read: dict[str, Any] = yaml.safe_load((PACKAGING / f"kubernetes/{name}.yaml").read_text())
    return read


class KubernetesTests(SynchronousTestCase):
    """What ``kubectl apply -k packaging/kubernetes`` is given."""

    def setUp(self) -> None:
        """The pod, and its one container."""
        self.pod = manifest("deployment")["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]

    def settings(self, told: str = "a-secret-of-at-least-thirty-two-bytes") -> Settings:
        """The ConfigMap's configuration, read with a secret where the pod has it."""
        text = manifest("configmap")["data"]["smartgate.toml"]
        secret = self.mktemp()
        with open(secret, "w") as file:
            file.write(told)
        config = self.mktemp()
        with open(config, "w") as file:
            file.write(text.replace("/run/secrets/smartgate/jwt-secret", secret))
        return load(config, {})

    def test_schemas(self) -> None:
        """Each object is one that the newest API takes, with no key that it does not know."""
        for path in KUBERNETES:
            if path.stem != "kustomization":
                latest = kubernetes_validate.latest_version()
                kubernetes_validate.validate(manifest(path.stem), latest, strict=True)

    def test_all_are_applied(self) -> None:
        """The kustomization names every file but the Secret's form."""
        named = {*manifest("kustomization")["resources"], "kustomization.yaml", "secret.yaml"}
        self.assertEqual(named, {path.name for path in KUBERNETES})

    def test_drains_within_its_grace(self) -> None:
        """The sleep and the drain end before the kubelet kills."""
        sleep = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertLess(sleep + self.settings().server.drain, self.pod["terminationGracePeriodSeconds"])

    def test_ports(self) -> None:
        """The container's ports are those that the configuration listens on, and what probes and services name."""
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        server = self.settings().server
        self.assertEqual([f"tcp:{ports['http']}", f"tcp:{ports['admin']}"], [*server.listen, server.admin])
        named = [
            self.container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        ]
        named += [port["targetPort"] for port in manifest("service")["spec"]["ports"]]
        self.assertLessEqual(set(named), set(ports))

    def test_finds_its_secret(self) -> None:
        """The Secret's key lies where the configuration reads it."""
        (mount,) = (mount for mount in self.container["volumeMounts"] if mount["name"] == "secret")
        (key,) = manifest("secret")["stringData"]
        self.assertIn(f'"{mount["mountPath"]}/{key}"', manifest("configmap")["data"]["smartgate.toml"])

    def test_form_of_the_secret(self) -> None:
        """Who applies it as it stands gets a gateway that does not start, rather than a secret that everybody knows."""
        (secret,) = manifest("secret")["stringData"].values()
        wrong = self.assertRaises(ConfigError, self.settings, secret)
        self.assertIn("jwt.secret", str(wrong))

    def test_what_probes_ask(self) -> None:
        """None asks /ready, which may be 503 while Redis is away; traffic depends on the worker's port."""
        asked = {
            probe: self.container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        self.assertEqual({probe["path"] for probe in asked.values()}, {"/health"})
        self.assertEqual([probe["port"] for probe in asked.values()], ["http", "admin", "http"])

    def test_spread(self) -> None:
        """Over zones and machines, and each rollout for itself."""
        spread = self.pod["topologySpreadConstraints"]
        self.assertEqual(
            [each["topologyKey"] for each in spread], ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        )
        self.assertEqual({tuple(each["matchLabelKeys"]) for each in spread}, {("pod-template-hash",)})

    def test_one_label(self) -> None:
        """Service, budget and network policy choose the Deployment's pods."""
        label = manifest("deployment")["spec"]["template"]["metadata"]["labels"]
        chosen = [
            manifest("service")["spec"]["selector"],
            manifest("disruption")["spec"]["selector"]["matchLabels"],
            manifest("network")["spec"]["podSelector"]["matchLabels"],
        ]
        self.assertEqual(chosen, [label] * 3)

    def test_version(self) -> None:
        """The image is this version's."""
        self.assertEqual(self.container["image"], f"smartgate:{__version__}")


class ComposeTests(SynchronousTestCase):
    """What ``docker compose`` is given."""

    def setUp(self) -> None:
        """The file, with the defaults of its variables in their places."""
        text = (PACKAGING / "compose.yaml").read_text()
        self.text = re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", text)
        self.gateway = yaml.safe_load(self.text)["services"]["gateway"]

    def test_schema(self) -> None:
        """It is what the Compose specification allows, and names no volume that it does not declare."""
        PyCompose.from_yaml(self.text).validate_volumes()

    def test_drains_within_its_grace(self) -> None:
        """The default drain ends before the container is killed."""
        drain = Server().drain
        self.assertLess(drain, float(self.gateway["stop_grace_period"].removesuffix("s")))

    def test_configuration_is_a_folder(self) -> None:
        """A mounted file would stay what it was when an editor puts another one in its place, and so would a reload."""
        (volume,) = self.gateway["volumes"]
        self.assertEqual(volume, "./config:/etc/smartgate:ro")

    def test_version(self) -> None:
        """The image is this version's."""
        self.assertEqual(self.gateway["image"], f"smartgate:{__version__}")
