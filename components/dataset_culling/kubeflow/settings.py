"""Address of Kubeflow Pipelines and sign-in, from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dataset_culling.errors import ConfigError

IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POD_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"


class KfpSettings(BaseSettings):
    """Environment variables about Kubeflow Pipelines."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, case_sensitive=True, hide_input_in_errors=True
    )

    host: str = Field("", validation_alias=AliasChoices("KF_PIPELINES_ENDPOINT"), description="http(s)://host[:port].")
    ui_host: str = Field("", validation_alias="KF_PIPELINES_UI_ENDPOINT", description="The UI's address, for links.")
    namespace: str = Field("", validation_alias="CULLING_KFP_NAMESPACE", description="Namespace of the runs.")
    token: SecretStr = Field(SecretStr(""), validation_alias="CULLING_KFP_TOKEN")
    cookies: SecretStr = Field(SecretStr(""), validation_alias="CULLING_KFP_COOKIES")
    token_file: str = Field("", validation_alias="KF_PIPELINES_SA_TOKEN_PATH")
    ca_file: str = Field("", validation_alias=AliasChoices("CULLING_KFP_CA_FILE", "SSL_CERT_FILE"))
    retry_s: float = Field(60.0, ge=0, le=3600, validation_alias="CULLING_KFP_RETRY_S")
    timeout_s: float = Field(60.0, gt=0, le=3600, validation_alias="CULLING_KFP_TIMEOUT_S")
    workers: int = Field(8, ge=1, le=32, validation_alias="CULLING_KFP_WORKERS")


def kfp_settings(host: str = "", namespace: str = "") -> KfpSettings:
    """Read the environment's settings, with options laid over them.

    Raises:
        ConfigError: If a value is invalid or no server is named; secrets are never repeated.
    """
    try:
        settings = KfpSettings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"environment: {problems}. Fix or unset the variable.") from None
    host = host or settings.host or (POD_HOST if IN_POD.is_dir() else "")
    if not host:
        raise ConfigError(
            "Kubeflow Pipelines: its address is missing. Pass --host http://localhost:8888 (after "
            "kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888), or set KF_PIPELINES_ENDPOINT."
        )
    if not host.startswith(("http://", "https://")):
        raise ConfigError(f"--host {host}: expected http://HOST:PORT or https://HOST. Fix it.")
    return settings.model_copy(update={"host": host.rstrip("/"), "namespace": namespace or settings.namespace})
