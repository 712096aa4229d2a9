"""The fields of KubeRay's objects as its own reference has them, for 1.6.2: https://docs.ray.io/en/master/kuberay/references/api.html

What is written in cluster/kubernetes has the same names, types and values in 1.7.0. What KubeRay and Ray leave to
Kubernetes, pods, is checked by Kubernetes' schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = "1.6.2"
POD = "pod"
"""a pod template, which is Kubernetes'"""
OTHER = "other"
"""what is Kubernetes' too, or none of our files has: nothing may be said there"""
TEXTS = "texts"
"""text by text"""
_INT32 = 2**31


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One type of object: what its fields are: a type of Python, one of some texts, another Kind by its name, a list of
    such."""

    fields: Mapping[str, object]
    required: frozenset[str] = field(default_factory=frozenset[str])


KINDS: Mapping[str, Kind] = {
    "RayCronJob": Kind(
        fields={"jobTemplate": "RayJob", "schedule": str, "suspend": bool},
        required=frozenset({"jobTemplate", "schedule"}),
    ),
    "RayJob": Kind(
        fields={
            **dict.fromkeys(
                ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "preRunningDeadlineSeconds"), int
            ),
            **dict.fromkeys(("entrypoint", "runtimeEnvYAML", "jobId", "entrypointResources"), str),
            **dict.fromkeys(("entrypointNumCpus", "entrypointNumGpus"), float),
            **dict.fromkeys(("shutdownAfterJobFinishes", "suspend"), bool),
            **dict.fromkeys(("metadata", "clusterSelector"), TEXTS),
            "managedBy": ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
            "submissionMode": ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
            "submitterConfig": "submitter",
            "submitterPodTemplate": POD,
            "deletionStrategy": OTHER,
            "rayClusterSpec": "RayCluster",
        },
    ),
    "submitter": Kind(fields={"backoffLimit": int}),
    "RayCluster": Kind(
        fields={
            **dict.fromkeys(("suspend", "enableInTreeAutoscaling"), bool),
            "managedBy": ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
            "rayVersion": str,
            "headServiceAnnotations": TEXTS,
            "authOptions": "auth",
            "autoscalerOptions": "autoscaler",
            "upgradeStrategy": "upgrade",
            "gcsFaultToleranceOptions": OTHER,
            "headGroupSpec": "head",
            "workerGroupSpecs": ["worker"],
        },
        required=frozenset({"headGroupSpec"}),
    ),
    "auth": Kind(fields={"mode": ("disabled", "token"), "secretName": str, "enableK8sTokenAuth": bool}),
    "upgrade": Kind(fields={"type": ("Recreate", "None")}),
    "autoscaler": Kind(
        fields={
            **dict.fromkeys(("resources", "securityContext", "env", "envFrom", "volumeMounts"), OTHER),
            "image": str,
            "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
            "idleTimeoutSeconds": int,
            "upscalingMode": ("Default", "Aggressive", "Conservative"),
            "version": ("v1", "v2"),
        }
    ),
    "head": Kind(
        fields={
            **dict.fromkeys(("rayStartParams", "resources", "labels"), TEXTS),
            "template": POD,
            "headService": OTHER,
            "enableIngress": bool,
            "serviceType": ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
        },
        required=frozenset({"template"}),
    ),
    "worker": Kind(
        fields={
            **dict.fromkeys(("rayStartParams", "resources", "labels"), TEXTS),
            **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds"), int),
            "groupName": str,
            "suspend": bool,
            "scaleStrategy": OTHER,
            "template": POD,
        },
        required=frozenset({"groupName", "maxReplicas", "minReplicas", "template"}),
    ),
}


def misfits(kind: str, spec: Any, where: str = "spec") -> Iterator[str]:
    """What of a spec KubeRay would refuse, or drop without a word."""
    known = KINDS[kind]
    if not isinstance(spec, dict):
        yield f"{where} is no object"
        return
    yield from (f"{where}.{name} is missing" for name in sorted(known.required - spec.keys()))
    for name, value in spec.items():
        at = f"{where}.{name}"
        if name not in known.fields:
            yield f"{at} is no field of KubeRay {VERSION}"
        else:
            yield from _misfits(known.fields[name], value, at)
    yield from (f"{where}: {rule}" for rule in _rules(kind, spec))


def _misfits(wanted: object, value: Any, at: str) -> Iterator[str]:
    if isinstance(wanted, list):
        if not isinstance(value, list):
            yield f"{at} is no list"
            return
        for index, one in enumerate(value):
            yield from misfits(wanted[0], one, f"{at}[{index}]")
    elif wanted == TEXTS:
        if not (isinstance(value, dict) and all(isinstance(one, str) for one in (*value, *value.values()))):
            yield f"{at}: texts alone, so numbers in quotes"
    elif wanted == OTHER:
        yield f"{at}: nothing here knows what it may hold"
    elif isinstance(wanted, tuple):
        if value not in wanted:
            yield f"{at}: {value!r} is none of {wanted}"
    elif isinstance(wanted, type):
        if not isinstance(value, (int, float) if wanted is float else wanted) or (
            isinstance(value, bool) and wanted is not bool
        ):
            yield f"{at}: {value!r} is no {wanted.__name__}"
        elif wanted is int and not 0 <= value < _INT32:
            yield f"{at}: {value} is not in 0..2^31"
    elif wanted != POD:
        yield from misfits(str(wanted), value, at)


def _rules(kind: str, spec: dict[str, Any]) -> Iterator[str]:
    """What KubeRay's operator refuses beyond types."""
    if kind == "RayJob":
        if spec.get("ttlSecondsAfterFinished", 0) > 0 and not spec.get("shutdownAfterJobFinishes"):
            yield "ttlSecondsAfterFinished wants shutdownAfterJobFinishes"
        if spec.get("activeDeadlineSeconds", 1) < 1:
            yield "activeDeadlineSeconds is not above 0"
        if not (spec.get("rayClusterSpec") or spec.get("clusterSelector")):
            yield "neither rayClusterSpec nor clusterSelector"
    if kind == "worker" and not spec.get("minReplicas", 0) <= spec.get("replicas", 0) <= spec.get("maxReplicas", 0):
        yield "replicas are not between minReplicas and maxReplicas"


def pods(kind: str, spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All pod templates in a spec."""
    for name, value in spec.items():
        wanted = KINDS[kind].fields[name]
        if wanted == POD:
            yield value
        elif isinstance(wanted, list):
            for one in value:
                yield from pods(wanted[0], one)
        elif isinstance(wanted, str) and wanted in KINDS:
            yield from pods(wanted, value)
