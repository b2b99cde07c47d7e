"""The values that the tests render the chart with, from the least to everything."""

import copy
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

INSTALLATION = "k3x9q0vb4m2p"
#: A text in every secret that the tests give as a value.
PLANTED = "planted-secret"

LEAST: Object = {
    "temporal": {"address": "temporal-frontend.temporal.svc:7233"},
    "settings": {
        "installation": INSTALLATION,
        "control_plane": {"url": "https://console.rafay.dev"},
        "hosts": {"here": {}},
    },
    "secrets": {
        "encryptionKeys": {"existingSecret": "moorage"},
        "controlPlaneApiKey": {"existingSecret": "moorage"},
        "apiTokens": {"existingSecret": "moorage"},
    },
}

ALL_SECRETS = (
    "encryptionKeys",
    "controlPlaneApiKey",
    "apiTokens",
    "identityClientSecret",
    "apiControlPlaneApiKey",
    "apiIdentityClientSecret",
    "noticesWebhookSecret",
    "noticesSlackUrl",
    "noticesSmtpPassword",
    "auditLogWebhookSecret",
    "temporalApiKey",
)

EVERYTHING: Object = {
    "nameOverride": "berths",
    "commonLabels": {"team": "platform"},
    "commonAnnotations": {"example.com/contact": "platform@example.com"},
    "podLabels": {"zone": "inner"},
    "podAnnotations": {"example.com/scan": "yes"},
    "image": {"repository": "registry.example.com/moorage", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "temporal": {
        "address": "temporal.example.com:7234",
        "namespace": "moorage",
        "tls": {
            "enabled": True,
            "serverName": "temporal",
            "existingSecret": "temporal-tls",
            "caKey": "ca.crt",
            "certificateKey": "tls.crt",
            "privateKeyKey": "tls.key",
        },
    },
    "settings": {
        "installation": INSTALLATION,
        "prefix": "acme",
        "control_plane": {"url": "https://console.example.com:8443", "ca_file": "/etc/moorage/ca/rafay.pem"},
        "identity": {
            "kind": "keycloak",
            "url": "https://sso.example.com/realms/acme",
            "client_id": "moorage",
        },
        "sso": {"domain": "example.com", "metadata_url": "https://sso.example.com:9443/saml"},
        "hosts": {
            "here": {
                "labels": {"zone": "eu", "gpu": "yes"},
                "capacity": {"environments": 20, "cpu": 16, "memory": "64Gi"},
                "reachable": ["10.20.0.0/16:443+8443", "[fd00::/8]:443"],
            },
            "harbour": {"exposure": "node-port", "address": "nodes.example.com", "timeout": "1m"},
        },
        "default_host": "here",
        "quotas": {
            "teams": {"Blue Team": {"environments": 5, "cpu": "16"}},
            "person": {"environments": 2, "memory": "8Gi"},
        },
        "api": {
            "trusted_proxies": ["10.0.0.0/24", "10.0.1.0/24"],
            "max_connections": 2000,
            "identity_client_id": "moorage-read",
        },
        "codec_server": {"ui": "https://temporal-ui.example.com"},
        "temporal": {"web_url": "https://temporal-ui.example.com"},
        "worker": {"max_cached_workflows": 400, "graceful_shutdown": "50s"},
        "sweep": {"interval": "2m", "ends_per_second": 2.5, "leavers_per_minute": 60000},
        "notices": {
            "webhook_url": "https://hooks.example.com:8444/moorage",
            "smtp_host": "mail.example.com",
            "smtp_port": 2525,
            "smtp_user": "moorage",
            "sender": "moorage@example.com",
            "platform_team": ["one@example.com", "two@example.com"],
        },
        "audit_log": {"webhook_url": "https://hooks.example.com/records"},
        "log": {"level": "debug", "format": "json"},
        "timeouts": {"give_up_after": "1d 12h"},
    },
    "secrets": {name: {"value": f"{PLANTED}-{name}"} for name in ALL_SECRETS},
    "hostKubeconfigs": {
        "harbour": {
            "worker": {"existingSecret": "harbour-worker", "key": "config"},
            "api": {"existingSecret": "harbour-api"},
        }
    },
    "templates": {"small.yaml": "description: Small\n"},
    "issuers": "- issuer: https://login.example.com:6443\n",
    "caConfigMap": "authorities",
    "auditLog": {"existingClaim": "records"},
    "traces": {"endpoint": "http://collector.observability:4318", "sample": 0.25},
    "serviceAccounts": {
        "worker": {"name": "berth-master", "annotations": {"example.com/role": "worker"}},
        "api": {"name": "clerk"},
    },
    "rbac": {
        "retainedVolumes": True,
        "environmentRules": [
            {"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["get", "list"]}
        ],
    },
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
    "extraVolumes": [{"name": "more", "configMap": {"name": "more"}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/etc/more"}],
    "worker": {
        "keda": {"enabled": True, "authenticationRef": "temporal"},
        "priorityClassName": "platform",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "platform", "operator": "Exists"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
                ]
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "extraEnv": [{"name": "TEMPORAL_GRPC_META_TEAM", "value": "platform"}],
    },
    "api": {
        "autoscaling": {"enabled": True},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "moorage.example.com",
            "tlsSecretName": "moorage-tls",
            "annotations": {"example.com/issuer": "letters"},
        },
    },
    "codecServer": {
        "enabled": True,
        "ingress": {"enabled": True, "host": "codec.example.com", "tlsSecretName": "codec-tls"},
    },
    "setup": {"only": ["temporal", "hosts"], "annotations": {"argocd.argoproj.io/hook": "Sync"}},
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True, "interval": "15s"},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}, "disabled": ["MoorageOrphans"]},
        "dashboards": {"enabled": True},
    },
    "networkPolicy": {
        "egress": {
            "temporal": [{"ipBlock": {"cidr": "10.9.0.0/16"}}],
            "nodePorts": [{"ipBlock": {"cidr": "10.8.0.0/24"}}],
            "traces": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "collector"}}}],
            "extra": [{"ports": [{"protocol": "TCP", "port": 3128}]}],
        },
        "ingress": {
            "api": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
            "metrics": [{"namespaceSelector": {}}],
        },
    },
}


def _merge(into: Object, change: Object) -> None:
    for key, value in change.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def with_values(*changes: Object, base: Object = LEAST) -> Object:
    """Return the base with these changes, as Helm merges several files; None removes a value."""
    merged = copy.deepcopy(base)
    for change in changes:
        _merge(merged, copy.deepcopy(change))
    return merged


GATEWAY = with_values(
    {
        "api": {
            "httpRoute": {
                "enabled": True,
                "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
                "hostnames": ["moorage.example.com"],
                "timeouts": {"request": "0s"},
            }
        },
        "settings": {"codec_server": {"ui": ["https://one.example.com", "https://two.example.com"]}},
        "codecServer": {
            "enabled": True,
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": []},
        },
    }
)
ONLY_OTHER_HOSTS = with_values(
    {
        "settings": {"hosts": {"here": None, "north": {"exposure": "node-port", "address": "n.example"}}},
        "hostKubeconfigs": {
            "north": {"worker": {"existingSecret": "north"}, "api": {"existingSecret": "north-read"}}
        },
    }
)
NOTHING_MORE = with_values(
    {
        "setup": {"enabled": False},
        "metrics": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "rbac": {"create": False},
        "serviceAccounts": {"worker": {"create": False}, "api": {"create": False}},
        "api": {"podDisruptionBudget": {"enabled": False}},
        "worker": {"podDisruptionBudget": {"enabled": False}, "autoscaling": {"enabled": True}},
    }
)

#: The cases of the tests.
#: A host elsewhere whose worker runs in this release, and one whose worker does not.
HOST_WORKERS = with_values(
    {
        "settings": {"hosts": {"eu_1": {"own_worker": True, "timeout": "1m"}, "far": {"own_worker": True}}},
        "hostKubeconfigs": {"eu_1": {"worker": {"existingSecret": "eu-worker"}}},
        "hostWorkers": {"eu_1": {"replicas": 1}},
        "metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
    }
)
#: This cluster is a host, and only its own worker reaches it.
OWN_WORKER_HERE = with_values(
    {"settings": {"hosts": {"here": {"own_worker": True}}}, "hostWorkers": {"here": None}}
)

MATRIX: Mapping[str, Object] = {
    "least": LEAST,
    "everything": EVERYTHING,
    "gateway": GATEWAY,
    "other hosts": ONLY_OTHER_HOSTS,
    "nothing more": NOTHING_MORE,
    "host workers": HOST_WORKERS,
    "own worker here": OWN_WORKER_HERE,
}
