"""Entitlements of a build: which steps may use the network, and the host's.

    RUN --network=host         uses the host's network; requires `build --allow network.host`,
                               or `build --network host` for all steps
    RUN --network=default      uses the network mode of `build --network`
    ADD https://…, ADD …git    fetched by the build itself; refused with `build --network none`

A Dockerfile may be untrusted, and ONBUILD adds instructions of a base image that the user has not
seen. So every RUN takes its network mode from here, and every ADD checks here before it fetches.
Images named by FROM and --from are pulled in every mode
(docs/decisions/0019-build-network-none.md).

Source: BuildKit's entitlements, docs.docker.com/reference/cli/docker/buildx/build "--allow".
"""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.options import Options
    from minidock.engine.dockerfile.instruction import Instruction

HOST_NETWORK = "network.host"
INSECURE = "security.insecure"


class EntitlementRefused(MinidockError):
    """A build requires an entitlement that --allow did not grant or cannot grant."""

    exit_code = 1


def read_entitlements(texts: list[str]) -> set[str]:
    """Parse the entitlements of --allow.

    Raises EntitlementRefused with BuildKit's message.
    """
    given = {name for text in texts for name in text.split(",") if name}
    for name in sorted(given - {HOST_NETWORK, INSECURE}):
        raise EntitlementRefused(
            f"unknown entitlement {name}", hint=f"the only supported entitlement is {HOST_NETWORK}"
        )
    if INSECURE in given:
        raise EntitlementRefused(
            f"failed to solve: granting entitlement {INSECURE} is not allowed by build daemon "
            "configuration",
            hint="a RUN step has the rights of a default container of `minidock run`",
        )
    return given


def run_network(instruction: Instruction, options: Options) -> str:
    """The network of a RUN: "default", "none" or "host".

    Raises EntitlementRefused for "host" without the entitlement.
    """
    asked = instruction.flag("network") or "default"
    network = options.network if asked == "default" else asked
    if network == "host" and not may_use_host_network(options):
        raise EntitlementRefused(
            f"failed to load LLB: {HOST_NETWORK} is not allowed",
            hint=f"RUN --network=host requires `minidock build --allow {HOST_NETWORK}`",
        )
    return network


def may_use_host_network(options: Options) -> bool:
    """Whether steps may use the host's network."""
    return options.network == "host" or HOST_NETWORK in options.allowed


def check_fetch(url: str, options: Options) -> None:
    """Raise DockerfileError if ADD may not fetch a URL."""
    if options.network == "none":
        raise DockerfileError(
            f"failed to fetch {url}: the build has no network (--network none)",
            hint="fetch it before the build and COPY it, or build with the network",
        )
